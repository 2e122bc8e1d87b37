-- What the scripts of one queue share. KEYS[1] is the index of the live messages, KEYS[2] the set of queue names;
-- the keys of a queue stand together, in the order of stem_redis.keys.QUEUE_KEYS.
--
-- A record of the index: token|state|queue|priority|entry|run|attempt|crashes|first|ready|sealed|why
--   state   R ready in its stream, L leased and in its stream; aside, with the body in a hash: D delayed,
--           S ready with crashes, l leased, H handed over to who waited and not confirmed yet, X dead
--   token   the newest grant that was not settled; it stays when the lease runs out, until somebody else is granted, or
--           it is moved, which leaves a - that is nobody's
--   entry   its entry in the stream of its priority (R, L)
--   first   when the attempt was first handed out; ready: since when it is ready, nothing when its entry begins with
--           that time; sealed: its queue before a move
--
-- All of this is made anew at every call of a script, so it has to cost little. Functions and constants are fields of a
-- table, for a closure over many locals costs more; and Q has no more than sixteen fields, as growing beyond takes as long
-- as making seven functions. What is rarely needed is made when it is asked for.
local Q = {
  JOBS = KEYS[1], QUEUES = KEYS[2], PER_QUEUE = 21, GROUP = 'stem', PORTION = 500,
  -- The most wakes that lie in a queue, and how long, in milliseconds.
  WAKES = 8, WAKE_TTL = 5000,
}

function Q.open(base, name)
  return {
    base = base, name = name, levels = KEYS[base + 1], delayed = KEYS[base + 2], leases = KEYS[base + 3],
    suspects = KEYS[base + 4], aside = KEYS[base + 5], dead = KEYS[base + 6], settled = KEYS[base + 7],
    wake = KEYS[base + 8], offers = KEYS[base + 9], extra = KEYS[base + 10], picked = KEYS[base + 11],
    -- By Q.used; the last two by a claim, which adds some more.
    used = false, surplus = 0, was_picked = false, tried = false, dry = false,
  }
end

function Q.stream(queue, priority)
  return KEYS[queue.base + 12 + priority]
end

-- The levels with a stream, as a text of digits.
function Q.used(queue)
  if not queue.used then
    local found = redis.call('MGET', queue.levels, queue.extra, queue.picked)
    queue.used, queue.surplus, queue.was_picked = found[1] or '', tonumber(found[2]) or 0, found[3]
  end
  return queue.used
end

-- How many more messages are ready in bundles than there are bundles, and whether one left a bundle in another way than
-- by a claim.
function Q.bundled(queue)
  Q.used(queue)
  return queue.surplus, queue.was_picked
end

-- Wake up to `count` of those who wait. A wake that nobody took is no second one.
function Q.ring(queue, count)
  local missing = math.min(count, Q.WAKES) - redis.call('LLEN', queue.wake)
  if missing > 0 then
    for _ = 1, missing do
      redis.call('RPUSH', queue.wake, 1)
    end
    redis.call('PEXPIRE', queue.wake, Q.WAKE_TTL)
    -- Those who wait come for what lies there: nothing that is published later is handed over before it.
    redis.call('ZREMRANGEBYSCORE', queue.offers, '(0', '+inf')
  end
end

function Q.promote_from(queue, now, keys)
  local found = {}
  for _, key in ipairs(keys) do
    local due = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'WITHSCORES', 'LIMIT', 0, Q.PORTION)
    for n = 1, #due, 2 do
      found[#found + 1] = {time = tonumber(due[n + 1]), id = due[n], from = key, place = #found}
    end
  end
  if #found > 0 then
    Q.promote_all(queue, found)
  end
end

function Q.promote(queue, now)
  Q.promote_from(queue, now, {queue.delayed, queue.leases})
end

-- Whether this begins as a body that we wrote: with the size of a header that is in it, and that of a signature, of less
-- than 16 MB, or all ones where there is none.
function Q.ours(body)
  local a, b, c, d, signature = string.byte(body or '', 1, 5)
  return signature and signature % 255 == 0 and ((a * 256 + b) * 256 + c) * 256 + d + 8 <= #body
end

-- The id in the name of an entry.
function Q.id(name)
  return string.find(name, '|', 1, true) and string.match(name, '^%d+|([^|]+)') or name
end

setmetatable(Q, {__index = function(_, name)
  setmetatable(Q, nil)
  -- As long as a wait lasts at most, in milliseconds.
  Q.OFFER_TTL = 1000
  -- Ranks of one priority are between a multiple of this and the next.
  Q.BAND = 2 ^ 42

  function Q.parse(record)
    local token, state, queue, priority, entry, run, attempt, crashes, first, ready, sealed, why = string.match(
      record,
      '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$')
    if ready == '' then
      ready = string.match(entry, '^%d+') or ''
    end
    return {
      token = token, state = state, queue = queue, priority = priority, entry = entry, run = run, attempt = attempt,
      crashes = crashes, first = first, ready = ready, sealed = sealed, why = why,
    }
  end

  function Q.format(job)
    return job.token .. '|' .. job.state .. '|' .. job.queue .. '|' .. job.priority .. '|' .. job.entry .. '|' .. job.run
      .. '|' .. job.attempt .. '|' .. job.crashes .. '|' .. job.first .. '|' .. job.ready .. '|' .. job.sealed .. '|'
      .. job.why
  end

  function Q.use(queue, priority)
    if not string.find(Q.used(queue), priority, 1, true) then
      queue.used = queue.used .. priority
      redis.call('SET', queue.levels, queue.used)
    end
  end

  function Q.disuse(queue, priority)
    redis.call('DEL', Q.stream(queue, priority))
    queue.used = string.gsub(Q.used(queue), priority, '')
    if queue.used == '' then
      redis.call('DEL', queue.levels, queue.extra, queue.picked)
    else
      redis.call('SET', queue.levels, queue.used)
    end
  end

  -- Offers of those who wait and have nothing stand in a sorted set by the time at which they end, and below zero, by the
  -- time at which something was handed over on them, until they are taken back.
  function Q.offer(queue, offer, now)
    -- Where a wake lies there is something to claim.
    if redis.call('LLEN', queue.wake) == 0 then
      -- Those of sessions that are gone, of both kinds.
      redis.call('ZREMRANGEBYSCORE', queue.offers, 10000 - now, now - 10000)
      redis.call('ZADD', queue.offers, now + Q.OFFER_TTL, offer)
      redis.call('PEXPIRE', queue.offers, 10000)
    end
  end

  -- Take an offer back in these queues; 1 when something was handed over on it, else 0.
  function Q.take_back(queues, offer)
    local handed = 0
    for _, queue in ipairs(queues) do
      local until_ = redis.call('ZSCORE', queue.offers, offer)
      if until_ then
        redis.call('ZREM', queue.offers, offer)
        if tonumber(until_) < 0 then
          handed = 1
        end
      end
    end
    return handed
  end

  -- The order of what stands aside and is ready: priority, then time.
  function Q.rank(priority, ready)
    return (9 - priority) * Q.BAND + ready
  end

  -- Put a message at the end of its stream. An entry has a field for each message, the value of which is the body. Its
  -- name is the id, or as here: since when the message is ready, a bar, and the id, with more behind it where this is not
  -- the first run.
  function Q.enter(queue, id, job, body, ready)
    local meta = ready .. '|' .. id
    if job.run ~= '0' or job.attempt ~= '1' or job.sealed ~= '' then
      meta = meta .. '|' .. job.run .. '|' .. job.attempt .. '|' .. job.first .. '|' .. job.sealed
    end
    Q.use(queue, job.priority)
    job.entry = redis.call('XADD', Q.stream(queue, job.priority), '*', meta, body)
    job.state, job.ready = 'R', ready
  end

  -- The entry of a message that is in a stream, or nothing. Of a bundle it is mostly asked for several times in turn.
  function Q.entry(queue, job)
    local stream = Q.stream(queue, job.priority)
    if Q.stream_read ~= stream or Q.entry_read ~= job.entry then
      Q.stream_read, Q.entry_read = stream, job.entry
      Q.found = redis.call('XRANGE', stream, job.entry, job.entry)[1]
    end
    return Q.found
  end

  -- The body of a message in the stream.
  function Q.body_in_stream(queue, id, job)
    local entry = Q.entry(queue, job)
    local fields = entry and entry[2] or {}
    if #fields <= 2 then
      return fields[2]
    end
    for n = 1, #fields, 2 do
      if Q.id(fields[n]) == id then
        return fields[n + 1]
      end
    end
  end

  function Q.body_of(queue, id, job)
    if job.state == 'R' or job.state == 'L' then
      return Q.body_in_stream(queue, id, job)
    end
    return redis.call('HGET', queue.aside, id)
  end

  -- Make ready what is due in these sorted sets: delays that are over, leases that have ended, in the order of their
  -- times.
  function Q.promote_one(queue, one, record)
    local job = record and Q.parse(record)
    local body = job and Q.body_of(queue, one.id, job)
    if not body then
      -- Somebody removed a part of it by hand: there is nothing left to deliver.
      redis.call('ZREM', one.from, one.id)
      redis.call('HDEL', Q.JOBS, one.id)
      return
    end
    local aside, entry = job.state ~= 'L', job.entry
    if job.state == 'H' then
      -- Whoever it was handed to has not confirmed: it never started there.
      job.token, job.first = '', ''
      Q.enter(queue, one.id, job, body, one.time)
    elseif one.from == queue.delayed and job.crashes == '0' then
      Q.enter(queue, one.id, job, body, one.time)
    else
      if not aside then
        redis.call('HSET', queue.aside, one.id, body)
      end
      redis.call('ZADD', queue.suspects, Q.rank(job.priority, one.time), one.id)
      job.state, job.entry, job.ready = 'S', '', one.time
    end
    redis.call('HSET', Q.JOBS, one.id, Q.format(job))
    redis.call('ZREM', one.from, one.id)
    if not aside then
      redis.call('XDEL', Q.stream(queue, job.priority), entry)
    elseif job.state == 'R' then
      redis.call('HDEL', queue.aside, one.id)
    end
  end

  function Q.promote_all(queue, found)
    table.sort(found, function(a, b)
      return a.time < b.time or (a.time == b.time and a.place < b.place)
    end)
    local ids = {}
    for n, one in ipairs(found) do
      ids[n] = one.id
    end
    local records = redis.call('HMGET', Q.JOBS, unpack(ids))
    for n, one in ipairs(found) do
      Q.promote_one(queue, one, records[n])
    end
  end

  -- The last delivered entry of a stream; nothing when there is no group.
  function Q.last_delivered(queue, priority)
    local groups = redis.pcall('XINFO', 'GROUPS', Q.stream(queue, priority))
    for _, group in ipairs(groups.err and {} or groups) do
      local facts = {}
      for n = 1, #group, 2 do
        facts[group[n]] = group[n + 1]
      end
      if facts.name == Q.GROUP then
        return facts['last-delivered-id']
      end
    end
  end

  -- What stands behind the last delivered entry of a stream: up to `count` entries.
  function Q.undelivered(queue, priority, count, after)
    if not after then
      local last = Q.last_delivered(queue, priority)
      after = last and '(' .. last or '-'
    end
    return redis.call('XRANGE', Q.stream(queue, priority), after, '+', 'COUNT', count)
  end

  function Q.ready_since(entry)
    return tonumber(string.match(entry[2][1] or '', '^(%d+)|') or string.match(entry[1], '^%d+'))
  end

  -- Take away what an empty queue would leave.
  function Q.tidy(queue)
    for priority in string.gmatch(Q.used(queue), '%d') do
      if redis.call('XLEN', Q.stream(queue, priority)) == 0 then
        Q.disuse(queue, priority)
      end
    end
    if Q.used(queue) == '' and redis.call('EXISTS', queue.delayed, queue.leases, queue.suspects, queue.dead) == 0 then
      redis.call('DEL', queue.wake)
      redis.call('SREM', Q.QUEUES, queue.name)
    end
  end

  return Q[name]
end})
