-- uses: clock queue
-- frees
-- Let leases of one queue end later. ARGV: the queue, lease in milliseconds, then for each its id and token.
-- Replies: 1 for done and 0 for lost, in order.
local now = clock()
local queue = Q.open(2, ARGV[1])
local deadline = now + tonumber(ARGV[2])
local count = (#ARGV - 2) / 2
local ids = {}
for n = 1, count do
  ids[n] = ARGV[1 + 2 * n]
end
local records = redis.call('HMGET', Q.JOBS, unpack(ids))
local verdicts, deadlines = {}, {}
for n, id in ipairs(ids) do
  local token, record = ARGV[2 + 2 * n], records[n]
  verdicts[n] = 0
  if record and #token > 1 and string.sub(record, 1, #token + 1) == token .. '|' then
    verdicts[n] = 1
    deadlines[#deadlines + 1] = deadline
    deadlines[#deadlines + 1] = id
    local state = string.sub(record, #token + 2, #token + 2)
    if state == 'S' or state == 'H' then
      -- The lease was over, but nobody else was granted the message; or the first lease was that of a handover.
      local job = Q.parse(record)
      job.state = 'l'
      redis.call('HSET', Q.JOBS, id, Q.format(job))
      redis.call('ZREM', queue.suspects, id)
    end
  end
end
if #deadlines > 0 then
  redis.call('ZADD', queue.leases, unpack(deadlines))
end
return verdicts
