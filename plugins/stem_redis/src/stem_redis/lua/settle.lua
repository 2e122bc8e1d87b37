-- uses: clock queue outcome
-- frees
-- Apply settlements of one queue. KEYS after the queue's: who waits for results, then the outcome of each. ARGV: the
-- queue, window and age of dead letters in milliseconds, the most dead letters, then for each settlement
-- id, token, verb, delay, more, head of the status, status.
--   verb  A ack, T retry after delay, R release after delay (more: crashes to add), X dead letter (more: why)
--   head  run|kind|milliseconds to keep, empty without a status
-- Replies: 1 for done and 0 for lost, in order.
local now, exact = clock()
local queue = open_queue(2, ARGV[1])
local window, dead_age, dead_most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local STRIDE, FIRST, OUTCOME = 7, 5, 3 + PER_QUEUE
local count = (#ARGV - FIRST + 1) / STRIDE
local waiters = KEYS[3 + PER_QUEUE]
local ids = {}
for n = 1, count do
  ids[n] = ARGV[FIRST + (n - 1) * STRIDE]
end
local records = redis.call('HMGET', JOBS, unpack(ids))
local outcomes = redis.call('MGET', unpack(KEYS, OUTCOME + 1))
-- What is to be kept is written at once or gathered here; what goes away is gathered and goes last.
local changed, bodies, delayed, suspects, dead, settled = {}, {}, {}, {}, {}, {}
local gone, no_lease, no_suspect, no_aside, entries = {}, {}, {}, {}, {}
local finished, woken, sooner = {}, 0, false

local function put(list, a, b)
  local at = #list
  list[at + 1], list[at + 2] = a, b
end

local function drop_entry(priority, entry)
  local list = entries[priority]
  if not list then
    list = {}
    entries[priority] = list
  end
  list[#list + 1] = entry
end

-- The body leaves its place: the stream, or the hash of what stands aside.
local function lift(id, job)
  if job.state == 'L' then
    local body = body_in_stream(queue, job)
    drop_entry(job.priority, job.entry)
    return body, true
  end
  return redis.call('HGET', queue.aside, id), false
end

local function move_on(n, id, job, body, from_stream, ready_at)
  if ready_at > now then
    if from_stream then
      put(bodies, id, body)
    end
    put(delayed, ready_at, id)
    job.state, job.entry, job.ready = 'D', '', ready_at
    sooner = sooner or ready_at < now + 1000
  elseif job.crashes == '0' then
    enter(queue, id, job, body, now)
    if not from_stream then
      no_aside[#no_aside + 1] = id
    end
    woken = woken + 1
  else
    if from_stream then
      put(bodies, id, body)
    end
    put(suspects, rank(job.priority, now), id)
    job.state, job.entry, job.ready = 'S', '', now
    woken = woken + 1
  end
end

local function record_status(n, id, old, at)
  local head = ARGV[at + 5]
  if head == '' then
    return
  end
  local run, kind, ttl = string.match(head, '^(%d+)|(%a)|(%d+)$')
  run = tonumber(run)
  if not supersedes(run, kind, old, now) then
    return
  end
  old.run, old.kind, old.kept, old.body = run, kind, now + ttl, ARGV[at + 6]
  if kind == 't' then
    finished[#finished + 1] = id
  end
  return true
end

local function apply(n, id, record, at)
  local token, verb = ARGV[at + 1], ARGV[at + 2]
  local old = outcomes[n] and parse_outcome(outcomes[n]) or {last = 0, marked = 0, token = '', body = ''}
  local recorded = record_status(n, id, old, at)
  if verb == 'A' then
    -- The place of the token holds while the message is in its stream.
    local priority, entry = string.match(token, '^(%d)/([^/]+)')
    if string.sub(record, #token + 2, #token + 2) == 'L' then
      drop_entry(priority, entry)
    else
      no_aside[#no_aside + 1] = id
    end
    old.last = tonumber(string.match(token, '/(%d+)/[^/]+$'))
    old.marked, old.token, recorded = now + window, token, true
    gone[#gone + 1] = id
  else
    local job = parse(record)
    local body, from_stream = lift(id, job)
    job.token, job.why = '', ''
    put(settled, now + window, token)
    if not body then
      gone[#gone + 1] = id
    elseif verb == 'X' then
      if from_stream then
        put(bodies, id, body)
      end
      put(dead, now, id)
      job.state, job.entry, job.ready, job.why = 'X', '', now, ARGV[at + 4]
    else
      if verb == 'T' then
        job.attempt, job.first = tostring(job.attempt + 1), ''
      else
        job.crashes = tostring(job.crashes + ARGV[at + 4])
      end
      local delay = tonumber(ARGV[at + 3])
      move_on(n, id, job, body, from_stream, delay > 0 and math.ceil(exact + delay) or now)
    end
    if body then
      put(changed, id, format(job))
    end
  end
  no_lease[#no_lease + 1] = id
  if recorded then
    write_outcome(KEYS[OUTCOME + n], old, now)
  end
end

local function settled_before(n, token)
  local old = outcomes[n] and parse_outcome(outcomes[n])
  if old and old.token == token and old.marked > now then
    return 1
  end
  local until_ = redis.call('ZSCORE', queue.settled, token)
  return until_ and tonumber(until_) > now and 1 or 0
end

local verdicts, applied = {}, {}
for n = 1, count do
  local at = FIRST + (n - 1) * STRIDE
  local id, token, record = ids[n], ARGV[at + 1], records[n]
  if record and string.sub(record, 1, #token + 1) == token .. '|' and #token > 0 then
    if not applied[id] then
      applied[id] = true
      if string.sub(record, #token + 2, #token + 2) == 'S' then
        no_suspect[#no_suspect + 1] = id
      end
      apply(n, id, record, at)
    end
    verdicts[n] = 1
  else
    verdicts[n] = settled_before(n, token)
  end
end

local function write(command, key, list)
  if #list > 0 then
    redis.call(command, key, unpack(list))
  end
end

write('HSET', queue.aside, bodies)
write('ZREM', queue.suspects, no_suspect)
write('ZADD', queue.delayed, delayed)
write('ZADD', queue.suspects, suspects)
write('ZADD', queue.dead, dead)
if #settled > 0 then
  redis.call('ZADD', queue.settled, unpack(settled))
  redis.call('ZREMRANGEBYSCORE', queue.settled, '-inf', now)
  redis.call('PEXPIRE', queue.settled, window)
end
write('HSET', JOBS, changed)
for priority, list in pairs(entries) do
  redis.call('XDEL', stream(queue, priority), unpack(list))
end
write('HDEL', queue.aside, no_aside)
write('ZREM', queue.leases, no_lease)
write('HDEL', JOBS, gone)

-- Dead letters go after their time, and when there are too many.
if #dead > 0 then
  local surplus = redis.call('ZCARD', queue.dead) - dead_most
  local old = redis.call('ZRANGEBYSCORE', queue.dead, '-inf', now - dead_age, 'LIMIT', 0, PORTION)
  if surplus > #old then
    old = redis.call('ZRANGE', queue.dead, 0, math.min(surplus, PORTION) - 1)
  end
  if #old > 0 then
    redis.call('HDEL', queue.aside, unpack(old))
    redis.call('HDEL', JOBS, unpack(old))
    redis.call('ZREM', queue.dead, unpack(old))
  end
end
if woken > 0 or sooner then
  ring(queue, math.max(woken, 1))
end
tell(waiters, finished)
return verdicts
