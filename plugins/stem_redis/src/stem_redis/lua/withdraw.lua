-- uses: clock queue
-- frees
-- Take an offer back, and what was handed over on it. KEYS: for each queue its own. ARGV: the offer, the number of
-- queues, then for each message that was handed over: the number of its queue, id, token.
local now = clock()
local queues = {}
for number = 1, tonumber(ARGV[2]) do
  queues[number] = Q.open(2 + (number - 1) * Q.PER_QUEUE, '')
end
Q.take_back(queues, ARGV[1])
for n = 3, #ARGV, 3 do
  local queue, id, token = queues[tonumber(ARGV[n])], ARGV[n + 1], ARGV[n + 2]
  local record = redis.call('HGET', Q.JOBS, id)
  if record and string.sub(record, 1, #token + 3) == token .. '|H|' then
    -- As if its time was over.
    redis.call('ZADD', queue.leases, now, id)
    Q.promote(queue, now)
    Q.ring(queue, 1)
  end
end
