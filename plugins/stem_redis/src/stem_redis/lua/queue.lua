-- What the scripts of one queue share. KEYS[1] is the index of the live messages, KEYS[2] the set of queue names;
-- the keys of a queue stand together, in the order of stem_redis.keys.QUEUE_KEYS.
--
-- A record of the index: token|state|queue|priority|entry|run|attempt|crashes|first|ready|sealed|why
--   state   R ready in its stream, L leased and in its stream; aside, with the body in a hash: D delayed,
--           S ready with crashes, l leased, X dead
--   token   the newest grant that was not settled; it stays when the lease runs out, until somebody else is granted
--   entry   its entry in the stream of its priority (R, L)
--   first   when the attempt was first handed out; ready: since when it is ready; sealed: its queue before a move
local JOBS, QUEUES = KEYS[1], KEYS[2]
local PER_QUEUE, GROUP, PORTION = 18, 'stem', 500
local WAKES, WAKE_TTL = 8, 5000

local function open_queue(base, name)
  return {
    base = base, name = name, levels = KEYS[base + 1], delayed = KEYS[base + 2], leases = KEYS[base + 3],
    suspects = KEYS[base + 4], aside = KEYS[base + 5], dead = KEYS[base + 6], settled = KEYS[base + 7],
    wake = KEYS[base + 8],
  }
end

local function stream(queue, priority)
  return KEYS[queue.base + 9 + priority]
end

local function parse(record)
  local token, state, queue, priority, entry, run, attempt, crashes, first, ready, sealed, why = string.match(
    record,
    '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$')
  return {
    token = token, state = state, queue = queue, priority = priority, entry = entry, run = run, attempt = attempt,
    crashes = crashes, first = first, ready = ready, sealed = sealed, why = why,
  }
end

local function format(job)
  return job.token .. '|' .. job.state .. '|' .. job.queue .. '|' .. job.priority .. '|' .. job.entry .. '|' .. job.run
    .. '|' .. job.attempt .. '|' .. job.crashes .. '|' .. job.first .. '|' .. job.ready .. '|' .. job.sealed .. '|'
    .. job.why
end

-- The levels with a stream, as a text of digits.
local function used(queue)
  if not queue.used then
    queue.used = redis.call('GET', queue.levels) or ''
  end
  return queue.used
end

local function use(queue, priority)
  if not string.find(used(queue), priority, 1, true) then
    queue.used = queue.used .. priority
    redis.call('SET', queue.levels, queue.used)
  end
end

local function disuse(queue, priority)
  redis.call('DEL', stream(queue, priority))
  queue.used = string.gsub(used(queue), priority, '')
  if queue.used == '' then
    redis.call('DEL', queue.levels)
  else
    redis.call('SET', queue.levels, queue.used)
  end
end

-- Wake up to `count` of those who wait. A wake that nobody took is no second one.
local function ring(queue, count)
  local missing = math.min(count, WAKES) - redis.call('LLEN', queue.wake)
  if missing > 0 then
    for _ = 1, missing do
      redis.call('RPUSH', queue.wake, 1)
    end
    redis.call('PEXPIRE', queue.wake, WAKE_TTL)
  end
end

-- The order of what stands aside and is ready: priority, then time.
local BAND = 2 ^ 42
local function rank(priority, ready)
  return (9 - priority) * BAND + ready
end

-- Put a message at the end of its stream.
local function enter(queue, id, job, body, ready)
  local meta = ready .. '|' .. id
  if job.run ~= '0' or job.attempt ~= '1' or job.sealed ~= '' then
    meta = meta .. '|' .. job.run .. '|' .. job.attempt .. '|' .. job.first .. '|' .. job.sealed
  end
  use(queue, job.priority)
  job.entry = redis.call('XADD', stream(queue, job.priority), '*', 'm', meta, 'b', body)
  job.state, job.ready = 'R', ready
end

-- The body of a message in the stream.
local function body_in_stream(queue, job)
  local found = redis.call('XRANGE', stream(queue, job.priority), job.entry, job.entry)
  return found[1] and found[1][2][4]
end

local function body_of(queue, id, job)
  if job.state == 'R' or job.state == 'L' then
    return body_in_stream(queue, job)
  end
  return redis.call('HGET', queue.aside, id)
end

-- What is due in a sorted set, as {time, id, from: the key}.
local function due_in(key, now, found)
  local due = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'WITHSCORES', 'LIMIT', 0, PORTION)
  for n = 1, #due, 2 do
    found[#found + 1] = {time = tonumber(due[n + 1]), id = due[n], from = key, place = #found}
  end
end

local function promote_one(queue, one, record)
  local job = record and parse(record)
  local body = job and body_of(queue, one.id, job)
  if not body then
    -- Somebody removed a part of it by hand: there is nothing left to deliver.
    redis.call('ZREM', one.from, one.id)
    redis.call('HDEL', JOBS, one.id)
    return
  end
  local aside, entry = job.state ~= 'L', job.entry
  if one.from == queue.delayed and job.crashes == '0' then
    enter(queue, one.id, job, body, one.time)
  else
    if not aside then
      redis.call('HSET', queue.aside, one.id, body)
    end
    redis.call('ZADD', queue.suspects, rank(job.priority, one.time), one.id)
    job.state, job.entry, job.ready = 'S', '', one.time
  end
  redis.call('HSET', JOBS, one.id, format(job))
  redis.call('ZREM', one.from, one.id)
  if not aside then
    redis.call('XDEL', stream(queue, job.priority), entry)
  elseif job.state == 'R' then
    redis.call('HDEL', queue.aside, one.id)
  end
end

-- Make ready what is due: delays that are over, leases that have ended, in the order of their times.
local function promote(queue, now)
  local found = {}
  due_in(queue.delayed, now, found)
  due_in(queue.leases, now, found)
  if #found == 0 then
    return
  end
  table.sort(found, function(a, b)
    return a.time < b.time or (a.time == b.time and a.place < b.place)
  end)
  local ids = {}
  for n, one in ipairs(found) do
    ids[n] = one.id
  end
  local records = redis.call('HMGET', JOBS, unpack(ids))
  for n, one in ipairs(found) do
    promote_one(queue, one, records[n])
  end
end

-- What stands behind the last delivered entry of a stream: up to `count` entries.
local function undelivered(queue, priority, count, after)
  local key = stream(queue, priority)
  local start = after
  if not start then
    local groups = redis.pcall('XINFO', 'GROUPS', key)
    start = '-'
    if not groups.err and groups[1] then
      for n = 1, #groups[1], 2 do
        if groups[1][n] == 'last-delivered-id' then
          start = '(' .. groups[1][n + 1]
        end
      end
    end
  end
  return redis.call('XRANGE', key, start, '+', 'COUNT', count)
end

local function ready_since(entry)
  return tonumber(string.match(entry[2][2] or '', '^%d+')) or 0
end

-- Take away what an empty queue would leave.
local function tidy(queue)
  for priority in string.gmatch(used(queue), '%d') do
    if redis.call('XLEN', stream(queue, priority)) == 0 then
      disuse(queue, priority)
    end
  end
  if used(queue) == '' and redis.call('EXISTS', queue.delayed, queue.leases, queue.suspects, queue.dead) == 0 then
    redis.call('DEL', queue.wake)
    redis.call('SREM', QUEUES, queue.name)
  end
end
