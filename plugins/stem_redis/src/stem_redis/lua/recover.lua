-- uses: clock queue
-- frees
-- Hand out again what a claim had granted whose reply was lost. ARGV: lease in milliseconds, the queue, the serial of
-- the claim, and where to go on. Replies: now, where to go on (0: it was all), and for each delivery token, meta,
-- body.
local now = clock()
local queue = Q.open(2, ARGV[2])
local mark = '/' .. ARGV[3] .. '.'
local scan = redis.call('ZSCAN', queue.leases, ARGV[4], 'COUNT', Q.PORTION)
local ids, granted = {}, {}
for n = 1, #scan[2], 2 do
  ids[#ids + 1] = scan[2][n]
end
local records = #ids > 0 and redis.call('HMGET', Q.JOBS, unpack(ids)) or {}
for n, id in ipairs(ids) do
  local job = records[n] and string.find(records[n], mark, 1, true) and Q.parse(records[n])
  local body = job and string.find(job.token, mark, 1, true) and Q.body_of(queue, id, job)
  if body then
    redis.call('ZADD', queue.leases, now + ARGV[1], id)
    if job.state == 'H' then
      job.state = 'l'
      redis.call('HSET', Q.JOBS, id, Q.format(job))
    end
    granted[#granted + 1] = job.token
    granted[#granted + 1] = job.ready .. '|' .. id .. '|' .. job.run .. '|' .. job.attempt .. '|' .. job.first .. '|'
      .. job.sealed .. '|' .. job.crashes .. '|' .. job.priority
    granted[#granted + 1] = body
  end
end
return {now, scan[1], granted}
