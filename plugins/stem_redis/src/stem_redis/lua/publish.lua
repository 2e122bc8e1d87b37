-- uses: clock queue outcome
-- Store messages of one queue. KEYS after the queue's: the outcome of each. ARGV: the queue, then for each message
-- its id, priority (with a comma and the delay in milliseconds where it has one), body.
local now, exact = clock()
local queue = open_queue(2, ARGV[1])
local count, first_key = (#ARGV - 1) / 3, 3 + PER_QUEUE
promote(queue, now)
local ids = {}
for n = 1, count do
  ids[n] = ARGV[3 * n - 1]
end
local known = redis.call('HMGET', JOBS, unpack(ids))
local outcomes = redis.call('MGET', unpack(KEYS, first_key))
local changes, seen, ready, sooner = {}, {}, 0, false
local since = string.format('%.0f', now)

-- The usual case: to run at once, and nothing is known of the id.
local function store_first(id, priority, body)
  use(queue, priority)
  local entry = redis.call('XADD', stream(queue, priority), '*', 'm', since .. '|' .. id, 'b', body)
  ready = ready + 1
  return '|R|' .. ARGV[1] .. '|' .. priority .. '|' .. entry .. '|0|1|0||' .. since .. '||'
end

local function store(id, when, body, old)
  local priority, delay = string.match(when, '^(%d),?(.*)$')
  local job = {
    token = '', queue = ARGV[1], priority = priority, entry = '', run = '0', attempt = '1', crashes = '0', first = '',
    sealed = '', why = '',
  }
  if old then
    job.run = tostring(math.max(old.last, old.run or 0))
  end
  if delay == '' then
    enter(queue, id, job, body, since)
    ready = ready + 1
  else
    delay = tonumber(delay)
    local due = math.ceil(exact + delay)
    redis.call('HSET', queue.aside, id, body)
    redis.call('ZADD', queue.delayed, due, id)
    job.state, job.ready = 'D', due
    sooner = sooner or delay < 1000
  end
  return format(job)
end

for n, id in ipairs(ids) do
  local old = outcomes[n] and parse_outcome(outcomes[n])
  if not known[n] and not seen[id] and not (old and old.marked > now) then
    seen[id] = true
    local when, body = ARGV[3 * n], ARGV[3 * n + 1]
    local record
    if not old and #when == 1 then
      record = store_first(id, when, body)
    else
      record = store(id, when, body, old)
    end
    local size = #changes
    changes[size + 1], changes[size + 2] = id, record
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
