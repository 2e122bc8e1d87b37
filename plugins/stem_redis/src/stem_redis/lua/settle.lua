-- uses: clock queue outcome
-- frees
-- Apply settlements of one queue. KEYS after the queue's: who waits for results, then the outcome of each. ARGV: the
-- queue, window and age of dead letters in milliseconds, the most dead letters, then for each settlement
-- id, token with a bar behind it, what to do, status (or nothing).
-- What to do: verb|word|run|kind|milliseconds to keep|why; run, kind and milliseconds are those of a status
--   A ack    T retry after word    R release after word: milliseconds, a comma, crashes to add    X dead letter: why
-- Replies: 1 for done and 0 for lost, in order.
local now, exact = clock()
local queue = Q.open(2, ARGV[1])
local window, dead_age, dead_most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local STRIDE, FIRST, OUTCOME = 4, 5, 3 + Q.PER_QUEUE
local IN_STREAM, OVER = string.byte('L'), string.byte('S')
local count = (#ARGV - FIRST + 1) / STRIDE
local ids = {}
for n = 1, count do
  ids[n] = ARGV[FIRST + (n - 1) * STRIDE]
end
local records = redis.call('HMGET', Q.JOBS, unpack(ids))
local outcomes = redis.call('MGET', unpack(KEYS, OUTCOME + 1))

-- What is to be kept is written at once or gathered here; what goes away is gathered and goes last.
local S = {
  now = now, exact = exact, window = window, queue = queue, orders = {}, gone = {}, no_lease = {}, no_aside = {},
  no_suspect = {}, entries = {}, finished = {}, statuses = {}, woken = 0, sooner = false, promoted = false, gathered = false,
}

local function drop_entry(priority, entry)
  local list = S.entries[priority]
  if not list then
    list = {}
    S.entries[priority] = list
  end
  list[#list + 1] = entry
end

-- What to do is mostly the same for all, so it is taken apart once.
local function order(text)
  local verb, word, run, kind, ttl, why = string.match(text, '^(%a)|([^|]*)|(%d*)|(%a?)|(%d*)|(.*)$')
  local found = {verb = verb, word = word, run = run, kind = kind, ttl = tonumber(ttl) or 0, why = why, kept = ''}
  if run ~= '' then
    found.kept = string.format('%.0f', S.now + found.ttl)
  end
  found.expires = math.max(found.ttl, S.window)
  S.orders[text] = found
  return found
end

-- What is needed for anything but a usual end of a run. Made when it is asked for, as some of Q.
setmetatable(S, {__index = function(_, name)
  setmetatable(S, nil)
  S.gathered = {changed = {}, bodies = {}, delayed = {}, suspects = {}, dead = {}, settled = {}}

  function S.put(list, a, b)
    local at = #list
    list[at + 1], list[at + 2] = a, b
  end

  function S.record(id, old, what, body)
    if what.run == '' or not O.supersedes(tonumber(what.run), what.kind, old, S.now) then
      return false
    end
    old.run, old.kind, old.kept, old.body = tonumber(what.run), what.kind, S.now + what.ttl, body
    if what.kind == 't' then
      table.insert(S.finished, id)
      table.insert(S.statuses, body)
    end
    return true
  end

  function S.ack(key, old, id, token, what, status)
    local outcome = O.parse(old or '')
    S.record(id, outcome, what, status)
    outcome.last = tonumber(string.match(token, '/(%d+)/[^/]+$'))
    outcome.marked, outcome.token = S.now + S.window, string.sub(token, 1, -2)
    O.write(key, outcome, S.now)
  end

  -- The body leaves its place: the stream, or the hash of what stands aside.
  function S.lift(id, job)
    if job.state == 'L' then
      local body = Q.body_in_stream(S.queue, id, job)
      drop_entry(job.priority, job.entry)
      return body, true
    end
    return redis.call('HGET', S.queue.aside, id), false
  end

  function S.move_on(id, job, body, from_stream, ready_at)
    local ready = ready_at <= S.now
    if ready and job.crashes == '0' then
      if not S.promoted then
        -- So that what was due before stands before it.
        S.promoted = true
        Q.promote_from(S.queue, S.now, {S.queue.delayed})
      end
      Q.enter(S.queue, id, job, body, S.now)
      if not from_stream then
        table.insert(S.no_aside, id)
      end
    else
      if from_stream then
        S.put(S.gathered.bodies, id, body)
      end
      if ready then
        S.put(S.gathered.suspects, Q.rank(job.priority, S.now), id)
      else
        S.put(S.gathered.delayed, ready_at, id)
        S.sooner = S.sooner or ready_at < S.now + 1000
      end
      job.state, job.entry, job.ready = ready and 'S' or 'D', '', ready_at
    end
    S.woken = S.woken + (ready and 1 or 0)
  end

  function S.give_back(key, old, id, record, token, what, status)
    local outcome = O.parse(old or '')
    if S.record(id, outcome, what, status) then
      O.write(key, outcome, S.now)
    end
    local job = Q.parse(record)
    local body, from_stream = S.lift(id, job)
    job.token, job.why = '', ''
    S.put(S.gathered.settled, S.now + S.window, string.sub(token, 1, -2))
    if not body then
      table.insert(S.gone, id)
      return
    end
    if what.verb == 'X' then
      if from_stream then
        S.put(S.gathered.bodies, id, body)
      end
      S.put(S.gathered.dead, S.now, id)
      job.state, job.entry, job.ready, job.why = 'X', '', S.now, what.why
    else
      local delay, crashes = string.match(what.word, '^([^,]*),?(%d*)$')
      if what.verb == 'T' then
        job.attempt, job.first = tostring(job.attempt + 1), ''
      else
        job.crashes = tostring(job.crashes + crashes)
      end
      delay = tonumber(delay)
      S.move_on(id, job, body, from_stream, delay > 0 and math.ceil(S.exact + delay) or S.now)
    end
    S.put(S.gathered.changed, id, Q.format(job))
  end

  function S.settled_before(old, token)
    local outcome = O.parse(old or '')
    if outcome.token == token and outcome.marked > S.now then
      return 1
    end
    local until_ = redis.call('ZSCORE', S.queue.settled, token)
    return until_ and tonumber(until_) > S.now and 1 or 0
  end

  return S[name]
end})

local verdicts, applied = {}, {}
local gone, no_lease, finished, statuses = S.gone, S.no_lease, S.finished, S.statuses
local orders, marked = S.orders, string.format('%.0f', now + window)
for n = 1, count do
  local at = FIRST + (n - 1) * STRIDE
  local id, token, record, old = ids[n], ARGV[at + 1], records[n], outcomes[n]
  if not record or #token < 3 or string.sub(record, 1, #token) ~= token then
    verdicts[n] = S.settled_before(old, string.sub(token, 1, -2))
  elseif applied[id] then
    verdicts[n] = 1
  else
    applied[id], verdicts[n] = true, 1
    local what = orders[ARGV[at + 2]] or order(ARGV[at + 2])
    local state = string.byte(record, #token + 1)
    no_lease[#no_lease + 1] = id
    if state == OVER then
      table.insert(S.no_suspect, id)
    end
    if what.verb ~= 'A' then
      S.give_back(KEYS[OUTCOME + n], old, id, record, token, what, ARGV[at + 3])
    else
      gone[#gone + 1] = id
      local priority, entry, run = string.match(token, '^(%w)/([%d-]*)/?(%d+)/')
      if state == IN_STREAM then
        drop_entry(priority, entry)
      else
        table.insert(S.no_aside, id)
      end
      if not old and (what.run == run or what.run == '') then
        -- The usual case: nothing is known of the id yet. Written in one go.
        redis.call(
          'SET', KEYS[OUTCOME + n],
          run .. '|' .. marked .. '|' .. token .. what.run .. '|' .. what.kind .. '|' .. what.kept .. '\n'
            .. ARGV[at + 3],
          'PX', what.expires)
        if what.kind == 't' then
          finished[#finished + 1], statuses[#statuses + 1] = id, ARGV[at + 3]
        end
      else
        S.ack(KEYS[OUTCOME + n], old, id, token, what, ARGV[at + 3])
      end
    end
  end
end

local function write(command, key, list)
  if #list > 0 then
    redis.call(command, key, unpack(list))
  end
end

write('ZREM', queue.suspects, S.no_suspect)
local more = S.gathered
if more then
  write('HSET', queue.aside, more.bodies)
  write('ZADD', queue.delayed, more.delayed)
  write('ZADD', queue.suspects, more.suspects)
  write('ZADD', queue.dead, more.dead)
  if #more.settled > 0 then
    redis.call('ZADD', queue.settled, unpack(more.settled))
    redis.call('ZREMRANGEBYSCORE', queue.settled, '-inf', now)
    redis.call('PEXPIRE', queue.settled, window)
  end
  write('HSET', Q.JOBS, more.changed)
end
for priority, list in pairs(S.entries) do
  redis.call('XDEL', Q.stream(queue, priority), unpack(list))
end
write('HDEL', queue.aside, S.no_aside)
write('ZREM', queue.leases, no_lease)
write('HDEL', Q.JOBS, gone)

-- Dead letters go after their time, and when there are too many.
if more and #more.dead > 0 then
  local surplus = redis.call('ZCARD', queue.dead) - dead_most
  local old = redis.call('ZRANGEBYSCORE', queue.dead, '-inf', now - dead_age, 'LIMIT', 0, Q.PORTION)
  if surplus > #old then
    old = redis.call('ZRANGE', queue.dead, 0, math.min(surplus, Q.PORTION) - 1)
  end
  write('HDEL', queue.aside, old)
  write('HDEL', Q.JOBS, old)
  write('ZREM', queue.dead, old)
end
if S.woken > 0 or S.sooner then
  Q.ring(queue, math.max(S.woken, 1))
end
O.tell(KEYS[OUTCOME], finished, statuses)
return verdicts
