-- uses: clock queue outcome
-- Store messages of one queue. KEYS after the queue's: the outcome of each. ARGV: the queue, then for each message
-- its id, priority (with a comma and the delay in milliseconds where it has one), body. No id comes twice.
local now, exact = clock()
local queue = Q.open(2, ARGV[1])
local count, first_key = (#ARGV - 1) / 3, 3 + Q.PER_QUEUE
-- So that what was due before stands before it. Leases that have ended have an order of their own, and can wait.
Q.promote_from(queue, now, {queue.delayed})
local ids = {}
for n = 1, count do
  ids[n] = ARGV[3 * n - 1]
end
local known = redis.call('HMGET', Q.JOBS, unpack(ids))
local outcomes = redis.call('MGET', unpack(KEYS, first_key))
local changes, size = {}, 0
local since = string.format('%.0f', now)

local P = {ready = 0, sooner = false}

function P.store(queue, id, when, body, old)
  local priority, delay = string.match(when, '^(%d),?(.*)$')
  local job = {
    token = '', queue = ARGV[1], priority = priority, entry = '', run = '0', attempt = '1', crashes = '0', first = '',
    sealed = '', why = '',
  }
  if old then
    job.run = tostring(math.max(old.last, old.run or 0))
  end
  if delay == '' then
    Q.enter(queue, id, job, body, since)
    P.ready = P.ready + 1
  else
    delay = tonumber(delay)
    local due = math.ceil(exact + delay)
    redis.call('HSET', queue.aside, id, body)
    redis.call('ZADD', queue.delayed, due, id)
    job.state, job.ready = 'D', due
    P.sooner = P.sooner or delay < 1000
  end
  return Q.format(job)
end

for n = 1, count do
  local id, old = ids[n], outcomes[n] and O.parse(outcomes[n])
  if not known[n] and not (old and old.marked > now) then
    changes[size + 1], changes[size + 2] = id, P.store(queue, id, ARGV[3 * n], ARGV[3 * n + 1], old)
    size = size + 2
  end
end
if size > 0 then
  redis.call('HSET', Q.JOBS, unpack(changes))
  redis.call('SADD', Q.QUEUES, ARGV[1])
  if P.ready > 0 or P.sooner then
    Q.ring(queue, math.max(P.ready, 1))
  end
end
return size / 2
