-- uses: clock queue outcome
-- frees
-- Apply settlements of one queue. KEYS after the queue's: who waits for results, then the outcome of each. ARGV: the
-- queue, window and age of dead letters in milliseconds, the most dead letters, then for each settlement
-- id, token with a bar behind it, what to do, status (or nothing).
-- What to do: verb|word|run|kind|milliseconds to keep|why; run, kind and milliseconds are those of a status
--   A ack    T retry after word    R release after word: milliseconds, a comma, crashes to add    X dead letter: why
-- Replies: 1 for done and 0 for lost, in order.
local now, exact = clock()
local queue = open_queue(2, ARGV[1])
local window, dead_age, dead_most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local STRIDE, FIRST, OUTCOME = 4, 5, 3 + PER_QUEUE
local call, sub, byte = redis.call, string.sub, string.byte
local IN_STREAM, OVER = byte('L'), byte('S')
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

local function move_on(id, job, body, from_stream, ready_at)
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

local marked, orders = string.format('%.0f', now + window), {}

-- What to do is mostly the same for all, so it is taken apart once.
local function order(text)
  local found = orders[text]
  if not found then
    local verb, word, run, kind, ttl, why = string.match(text, '^(%a)|([^|]*)|(%d*)|(%a?)|(%d*)|(.*)$')
    found = {verb = verb, word = word, run = run, kind = kind, ttl = tonumber(ttl), why = why}
    if found.ttl then
      found.kept = string.format('%.0f', now + found.ttl)
    end
    orders[text] = found
  end
  return found
end

-- The usual case: an ack with a result, and nothing is known of the id. Written in one go.
local function record_first(n, id, token, what, body)
  call(
    'SET', KEYS[OUTCOME + n],
    what.run .. '|' .. marked .. '|' .. token .. what.run .. '|' .. what.kind .. '|' .. what.kept .. '\n' .. body,
    'PX', what.ttl > window and what.ttl or window)
  if what.kind == 't' then
    finished[#finished + 1] = id
  end
end

local function record_status(id, old, what, body)
  if what.run == '' or not supersedes(tonumber(what.run), what.kind, old, now) then
    return false
  end
  old.run, old.kind, old.kept, old.body = tonumber(what.run), what.kind, now + what.ttl, body
  if what.kind == 't' then
    finished[#finished + 1] = id
  end
  return true
end

local function ack(n, id, token, state, what, status)
  local priority, entry, run = string.match(token, '^(%w)/([%d-]*)/?(%d+)/')
  if state == IN_STREAM then
    drop_entry(priority, entry)
  else
    no_aside[#no_aside + 1] = id
  end
  gone[#gone + 1] = id
  if not outcomes[n] and what.run == run then
    return record_first(n, id, token, what, status)
  end
  local old = outcomes[n] and parse_outcome(outcomes[n]) or {last = 0, marked = 0, token = '', body = ''}
  record_status(id, old, what, status)
  old.last, old.marked, old.token = tonumber(run), now + window, sub(token, 1, -2)
  write_outcome(KEYS[OUTCOME + n], old, now)
end

local function give_back(n, id, record, token, what, status)
  local old = outcomes[n] and parse_outcome(outcomes[n]) or {last = 0, marked = 0, token = '', body = ''}
  if record_status(id, old, what, status) then
    write_outcome(KEYS[OUTCOME + n], old, now)
  end
  local job = parse(record)
  local body, from_stream = lift(id, job)
  job.token, job.why = '', ''
  put(settled, now + window, sub(token, 1, -2))
  if not body then
    gone[#gone + 1] = id
    return
  end
  if what.verb == 'X' then
    if from_stream then
      put(bodies, id, body)
    end
    put(dead, now, id)
    job.state, job.entry, job.ready, job.why = 'X', '', now, what.why
  else
    local delay, crashes = string.match(what.word, '^([^,]*),?(%d*)$')
    if what.verb == 'T' then
      job.attempt, job.first = tostring(job.attempt + 1), ''
    else
      job.crashes = tostring(job.crashes + crashes)
    end
    delay = tonumber(delay)
    move_on(id, job, body, from_stream, delay > 0 and math.ceil(exact + delay) or now)
  end
  put(changed, id, format(job))
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
  if record and sub(record, 1, #token) == token and #token > 1 then
    if not applied[id] then
      applied[id] = true
      local what, state = order(ARGV[at + 2]), byte(record, #token + 1)
      if state == OVER then
        no_suspect[#no_suspect + 1] = id
      end
      no_lease[#no_lease + 1] = id
      if what.verb == 'A' then
        ack(n, id, token, state, what, ARGV[at + 3])
      else
        give_back(n, id, record, token, what, ARGV[at + 3])
      end
    end
    verdicts[n] = 1
  else
    verdicts[n] = settled_before(n, sub(token, 1, -2))
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
