-- uses: clock queue bundles suspects
-- frees
-- Grant ready messages of several queues. KEYS: for each queue its own. ARGV: lease in milliseconds, suspects, serial,
-- limit, an offer to take back and one to make when nothing is granted (or nothing), number of queues, their names, then
-- the steps of the plan: number of a queue, at most.
-- Replies: now, when to look again (or false), the number of each queue in which suspects were left and those (id, rank,
-- ...), for each delivery the number of its queue, token, meta, body, and 1 when something was handed over on the offer.
local now = clock()
local limit, count = tonumber(ARGV[4]), tonumber(ARGV[7])
local C = {
  now = now, since = string.format('%.0f', now), deadline = string.format('%.0f', now + ARGV[1]),
  suspects = tonumber(ARGV[2]), serial = ARGV[3], taken = 0, granted = {},
  -- Those below: a table that has to grow costs more than some functions.
  note = false, grant_first = false, grant_entry = false, grant_bundle = false, next = false, back_to = false,
  read = false, take = false,
}

-- Remember grant number C.taken.
function C.note(queue, number, id, token, record, meta, body)
  local granted, at, size = C.granted, 4 * C.taken, queue.size
  queue.size = size + 2
  queue.records[size + 1], queue.records[size + 2] = id, record
  queue.deadlines[size + 1], queue.deadlines[size + 2] = C.deadline, id
  granted[at - 3], granted[at - 2], granted[at - 1], granted[at] = number, token, meta, body
end

-- The usual case: the first run of a message.
function C.grant_first(queue, number, priority, entry, ready, id, meta, body)
  C.taken = C.taken + 1
  local token = priority .. '/' .. entry .. '/1/' .. C.serial .. '.' .. C.taken
  local record = token .. '|L|' .. queue.name .. '|' .. priority .. '|' .. entry .. '|1|1|0|' .. C.since .. '|' .. ready
    .. '||'
  C.note(queue, number, id, token, record, meta, body)
end

function C.grant_entry(queue, number, priority, entry)
  local fields = entry[2]
  local meta, body = fields[1], fields[2]
  if #fields ~= 2 or not Q.ours(body) then
    return C.quarantine(queue, priority, entry)
  end
  local bar = string.find(meta, '|', 1, true)
  if not bar then
    return C.grant_first(queue, number, priority, entry[1], '', meta, meta, body)
  end
  if not string.find(meta, '|', bar + 1, true) then
    return C.grant_first(
      queue, number, priority, entry[1], string.sub(meta, 1, bar - 1), string.sub(meta, bar + 1), meta, body)
  end
  local ready, id, run, attempt, first, sealed = string.match(meta, '^(%d+)|([^|]+)|(%d+)|(%d+)|(%d*)|(.*)$')
  if not ready then
    return C.quarantine(queue, priority, entry)
  end
  C.grant(queue, number, id, 'L', priority .. '/' .. entry[1], {
    priority = priority, entry = entry[1], run = tostring(run + 1), attempt = attempt, crashes = '0',
    first = first ~= '' and first or C.since, ready = ready, sealed = sealed,
  }, meta, body)
end

-- The first of what is ready in a bundle, and whether that is all.
function C.grant_bundle(queue, number, priority, entry, wanted, whole)
  local ids, places = B.ready(queue, priority, entry, whole)
  if not ids then
    C.quarantine(queue, priority, entry)
    return true
  end
  local fields, bodies, count = entry[2], queue.bodies, math.min(#ids, wanted)
  local start = priority .. '/' .. entry[1] .. '/1/' .. C.serial .. '.'
  local since = string.match(fields[1], '^(%d+)|') or string.match(entry[1], '^%d+')
  local tail = '|l|' .. queue.name .. '|' .. priority .. '||1|1|0|' .. C.since .. '|' .. since .. '||'
  for n = 1, count do
    local id, place, size = ids[n], places[n], #bodies
    C.taken = C.taken + 1
    local token = start .. C.taken
    C.note(queue, number, id, token, token .. tail, fields[place - 1], fields[place])
    bodies[size + 1], bodies[size + 2] = id, fields[place]
  end
  if count < #ids then
    for n = 1, count do
      queue.granted[ids[n]] = true
    end
    queue.fewer = queue.fewer + count
    return false
  end
  queue.fewer = queue.fewer + math.max(0, count - 1)
  local emptied = queue.emptied[priority] or {}
  queue.emptied[priority], emptied[#emptied + 1] = emptied, entry[1]
  return true
end

-- The next entries of a level; none when there are no more.
function C.next(queue, priority, wanted)
  local key = Q.stream(queue, priority)
  -- Without acknowledgement: who holds what stands in the index and the leases. The group is the place of reading.
  local found = redis.pcall('XREADGROUP', 'GROUP', Q.GROUP, Q.GROUP, 'COUNT', wanted, 'NOACK', 'STREAMS', key, '>')
  if found and found.err then
    if not string.find(found.err, 'NOGROUP', 1, true) then
      error(found.err)
    end
    if not C.regroup(queue, priority) then
      return {}
    end
    found = redis.call('XREADGROUP', 'GROUP', Q.GROUP, Q.GROUP, 'COUNT', wanted, 'NOACK', 'STREAMS', key, '>')
  end
  if not found then
    if redis.call('XLEN', key) == 0 then
      Q.disuse(queue, priority)
    end
    return {}
  end
  return found[1][2]
end

-- This entry is the next that is read. `last` stands before it, and is gone or leased.
function C.back_to(queue, priority, last, entry)
  local key = Q.stream(queue, priority)
  if not last then
    local time, number = string.match(entry[1], '^(%d+)-(%d+)$')
    if number == '0' then
      last = string.format('%.0f', time - 1) .. '-18446744073709551615'
    elseif #number < 16 then
      last = time .. '-' .. string.format('%.0f', number - 1)
    else
      -- More than Lua can count down, so somebody wrote there by hand. It may go through all there is: 30 ms of 300,000.
      local before = redis.call('XREVRANGE', key, '(' .. entry[1], '-', 'COUNT', 1)[1]
      last = before and before[1] or '0'
    end
  end
  redis.call('XGROUP', 'SETID', key, Q.GROUP, last)
end

function C.read(queue, number, priority, wanted)
  local before, last = C.taken, nil
  local target, surplus, picked = before + wanted, Q.bundled(queue)
  -- About how many messages an entry has, so that few are read in vain.
  local each = surplus > queue.fewer and B.MOST or 1
  while C.taken < target do
    local start, count = C.taken, math.ceil((target - C.taken) / each)
    if count > 1 and each > 1 then
      -- The first may have been taken in part.
      count = count + 1
    end
    local entries = C.next(queue, priority, count)
    for _, entry in ipairs(entries) do
      local left, all = target - C.taken, true
      if left == 0 then
        all = false
      elseif #entry[2] > 2 then
        -- A claim leaves a part of one bundle at most, which is the first that the next one reads: what stands before
        -- the place of reading is gone or leased.
        all = C.grant_bundle(queue, number, priority, entry, left, last and not picked)
      else
        C.grant_entry(queue, number, priority, entry)
      end
      if not all then
        C.back_to(queue, priority, last, entry)
        break
      end
      last = entry[1]
    end
    if #entries < count then
      break
    end
    each = math.max(1, (C.taken - start) / #entries)
  end
  return C.taken - before
end

function C.take(queue, number, wanted)
  local found = C.suspects > 0 and redis.call('ZRANGE', queue.suspects, 0, C.suspects - 1, 'WITHSCORES') or {}
  local levels, got = Q.used(queue), 0
  if #found == 0 and #levels <= 1 then
    return levels == '' and 0 or C.read(queue, number, levels, wanted)
  end
  local suspects = #found > 0 and with_suspects(C)
  local bands = suspects and suspects.bands(found) or {}
  for priority = 9, 0, -1 do
    local level = tostring(priority)
    if bands[priority] then
      got = got + suspects.take(queue, number, level, wanted - got, bands[priority])
    elseif string.find(levels, level, 1, true) then
      got = got + C.read(queue, number, level, wanted - got)
    end
    if got >= wanted then
      break
    end
  end
  return got
end

-- Rarely needed, as those of Q.
setmetatable(C, {__index = function(_, name)
  setmetatable(C, nil)

  function C.grant(queue, number, id, state, place, job, meta, body)
    C.taken = C.taken + 1
    job.state, job.queue, job.why = state, queue.name, ''
    job.token = place .. '/' .. job.run .. '/' .. C.serial .. '.' .. C.taken
    C.note(queue, number, id, job.token, Q.format(job), meta, body)
  end

  -- An entry that none of us wrote goes to the dead letters as it is.
  function C.quarantine(queue, priority, entry)
    local id = 'unreadable.' .. entry[1]
    local raw = table.concat(entry[2] or {}, ' ')
    redis.call('HSET', queue.aside, id, string.char(0, 0, 0, 0, 255, 255, 255, 255) .. raw)
    redis.call('ZADD', queue.dead, C.now, id)
    redis.call('HSET', Q.JOBS, id, Q.format({
      token = '', state = 'X', queue = queue.name, priority = priority, entry = '', run = '0', attempt = '1',
      crashes = '0', first = '', ready = C.now, sealed = '',
      why = '["unreadable","an entry without message in the stream"]',
    }))
    redis.call('XDEL', Q.stream(queue, priority), entry[1])
  end

  -- The group is lost, or was never made: what is leased stands before what is ready.
  function C.regroup(queue, priority)
    local key, last, count = Q.stream(queue, priority), nil, 1
    repeat
      local entries = redis.call('XRANGE', key, last and '(' .. last or '-', '+', 'COUNT', count)
      if #entries == 0 and not last then
        Q.disuse(queue, priority)
        return false
      end
      local ready
      for _, entry in ipairs(entries) do
        local id = #entry[2] == 2 and Q.id(entry[2][1])
        local record = id and redis.call('HGET', Q.JOBS, id)
        if not record or string.match(record, '^[^|]*|(%a)') ~= 'L' then
          ready = true
          break
        end
        last = entry[1]
      end
      -- Mostly nothing is leased there, and what is ready may be much.
      count = math.min(2 * count, Q.PORTION)
    until ready or #entries == 0
    redis.call('XGROUP', 'CREATE', key, Q.GROUP, last or '0')
    return true
  end

  return C[name]
end})

local queues = {}
for number = 1, count do
  local queue = Q.open(2 + (number - 1) * Q.PER_QUEUE, ARGV[7 + number])
  queue.records, queue.deadlines, queue.size = {}, {}, 0
  queue.bodies, queue.granted, queue.fewer, queue.emptied = {}, {}, 0, {}
  queues[number] = queue
  Q.promote(queue, now)
end
for step = 8 + count, #ARGV, 2 do
  local number = tonumber(ARGV[step])
  local queue, wanted = queues[number], math.min(tonumber(ARGV[step + 1]), limit - C.taken)
  if wanted > 0 and not queue.dry then
    queue.tried, queue.dry = true, C.take(queue, number, wanted) < wanted
  end
end

local again, left = nil, {}
local handed = ARGV[5] ~= '' and Q.take_back(queues, ARGV[5]) or 0
for number, queue in ipairs(queues) do
  if queue.size > 0 then
    redis.call('HSET', Q.JOBS, unpack(queue.records))
    redis.call('ZADD', queue.leases, unpack(queue.deadlines))
    if #queue.bodies > 0 then
      redis.call('HSET', queue.aside, unpack(queue.bodies))
    end
    if queue.fewer > 0 then
      redis.call('DECRBY', queue.extra, queue.fewer)
    end
  end
  for priority, entries in pairs(queue.emptied) do
    redis.call('XDEL', Q.stream(queue, priority), unpack(entries))
  end
  if queue.dry then
    for _, key in ipairs({queue.delayed, queue.leases}) do
      local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
      if head[1] and (not again or tonumber(head[2]) < again) then
        again = tonumber(head[2])
      end
    end
    local waiting = redis.call('ZRANGE', queue.suspects, 0, 99, 'WITHSCORES')
    if #waiting > 0 then
      left[#left + 1], left[#left + 2] = number, waiting
    else
      -- Nothing is ready, so no wake that lies there is worth anything.
      redis.call('DEL', queue.wake)
      if Q.used(queue) == '' then
        Q.tidy(queue)
      end
    end
  elseif queue.tried and C.taken >= limit then
    -- The wake that was meant for more than could be taken goes on to the next.
    Q.ring(queue, 1)
  end
end
if ARGV[6] ~= '' and C.taken == 0 then
  for _, queue in ipairs(queues) do
    Q.offer(queue, ARGV[6], now)
  end
end
return {now, again or false, left, C.granted, handed}
