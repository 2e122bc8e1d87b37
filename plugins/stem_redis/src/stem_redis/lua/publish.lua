-- uses: clock queue outcome
-- Store messages of one queue. KEYS after the queue's: the outcome of each. ARGV: the queue, then for each message
-- its id, priority, delay in milliseconds, body.
local now, exact = clock()
local queue = open_queue(2, ARGV[1])
local count, first_key = (#ARGV - 1) / 4, 3 + PER_QUEUE
promote(queue, now)
local ids = {}
for n = 1, count do
  ids[n] = ARGV[4 * n - 2]
end
local known = redis.call('HMGET', JOBS, unpack(ids))
local outcomes = redis.call('MGET', unpack(KEYS, first_key))
local changes, seen, ready, sooner = {}, {}, 0, false
for n, id in ipairs(ids) do
  local old = outcomes[n] and parse_outcome(outcomes[n])
  if not known[n] and not seen[id] and not (old and old.marked > now) then
    seen[id] = true
    local job = {
      token = '', queue = ARGV[1], priority = ARGV[4 * n - 1], entry = '', run = '0', attempt = '1', crashes = '0',
      first = '', sealed = '', why = '',
    }
    if old then
      job.run = tostring(math.max(old.last, old.run or 0))
    end
    local delay, body = tonumber(ARGV[4 * n]), ARGV[4 * n + 1]
    if delay > 0 then
      local due = math.ceil(exact + delay)
      redis.call('HSET', queue.aside, id, body)
      redis.call('ZADD', queue.delayed, due, id)
      job.state, job.ready = 'D', due
      sooner = sooner or delay < 1000
    else
      enter(queue, id, job, body, now)
      ready = ready + 1
    end
    changes[#changes + 1] = id
    changes[#changes + 1] = format(job)
  end
end
if #changes > 0 then
  redis.call('HSET', JOBS, unpack(changes))
  redis.call('SADD', QUEUES, ARGV[1])
  if ready > 0 or sooner then
    ring(queue, math.max(ready, 1))
  end
end
return #changes / 2
