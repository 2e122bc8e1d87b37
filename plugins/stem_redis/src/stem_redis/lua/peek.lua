-- uses: clock queue bundles
-- frees
-- One page of the ids of a queue in one state, in the order of delivery. ARGV: the queue, state (ready, delayed,
-- leased or dead), limit, the last id of the page before (or nothing), least score of the dead.
local now = clock()
local queue = Q.open(2, ARGV[1])
local state, limit, after = ARGV[2], tonumber(ARGV[3]), ARGV[4]
Q.promote(queue, now)

local function page_of(key, least)
  local start = 0
  if after ~= '' then
    local rank_of = redis.call('ZRANK', key, after)
    if not rank_of then
      return {}
    end
    start = rank_of + 1
  elseif least then
    start = redis.call('ZCOUNT', key, '-inf', least)
  end
  return redis.call('ZRANGE', key, start, start + limit - 1)
end

if state == 'delayed' then
  return page_of(queue.delayed)
elseif state == 'leased' then
  return page_of(queue.leases)
elseif state == 'dead' then
  return page_of(queue.dead, now - ARGV[5])
end

local last
if after ~= '' then
  local record = redis.call('HGET', Q.JOBS, after)
  last = record and Q.parse(record)
  if not last or last.queue ~= ARGV[1] or (last.state ~= 'R' and last.state ~= 'S') then
    return {}
  end
end

-- Since when the youngest is ready of the last id and those before it in its stream. It may itself be older: what was
-- moved, or comes back, keeps its time and stands behind what was there.
local function youngest_up_to_last()
  local key, to, found = Q.stream(queue, last.priority), last.entry, tonumber(last.ready)
  local first, count = Q.undelivered(queue, last.priority, 1)[1], 1
  while first do
    local entries = redis.call('XREVRANGE', key, to, first[1], 'COUNT', count)
    for _, entry in ipairs(entries) do
      found = math.max(found, Q.ready_since(entry))
      -- By the number of its entry, and no number before it is higher.
      if not string.find(entry[2][1], '|', 1, true) then
        return found
      end
    end
    if #entries < count then
      break
    end
    -- Mostly the first one tells.
    to, count = '(' .. entries[#entries][1], math.min(2 * count, Q.PORTION)
  end
  return found
end

-- The suspects of a level behind the last id, as {id, ready}.
local function suspects_in(priority)
  local band, found = 9 - priority, {}
  local items = redis.call('ZRANGEBYSCORE', queue.suspects, band * Q.BAND, (band + 1) * Q.BAND - 1, 'WITHSCORES')
  local here = last and last.priority == tostring(priority)
  local passed = here and last.state == 'S'
  local youngest = here and not passed and #items > 0 and youngest_up_to_last()
  for n = 1, #items, 2 do
    local ready = items[n + 1] - band * Q.BAND
    if passed then
      passed = items[n] ~= after
    elseif not youngest or ready > youngest then
      found[#found + 1] = {id = items[n], ready = ready}
    end
  end
  return found
end

local ids = {}
local function level(priority)
  local start, waiting, turn = nil, suspects_in(priority), 1
  -- Whether what is before us in its entry, a bundle, was in the pages before.
  local passed = true
  local least = -1
  -- Without a group what is leased cannot be told from what is ready by its place.
  local grouped = Q.last_delivered(queue, priority)
  -- Entries to read at a time: bundles are not to be read for nothing.
  local portion = Q.bundled(queue) > 0 and math.ceil(limit / B.MOST) + 1 or limit
  if last and last.priority == tostring(priority) then
    if last.state == 'R' then
      start, passed = last.entry, false
    else
      least = tonumber(last.ready)
    end
  end
  local entries = Q.undelivered(queue, priority, portion, start)
  while #entries > 0 or waiting[turn] do
    for _, entry in ipairs(entries) do
      local ready = Q.ready_since(entry)
      while waiting[turn] and waiting[turn].ready <= ready do
        ids[#ids + 1] = waiting[turn].id
        turn = turn + 1
      end
      if ready >= least then
        -- All behind it as well: those that are older came later.
        least = -1
        for _, id in ipairs(B.ready(queue, priority, entry, grouped and #entry[2] == 2) or {}) do
          if passed then
            ids[#ids + 1] = id
          end
          passed = passed or id == after
        end
        passed = true
      end
      if #ids >= limit then
        return
      end
    end
    local tail = entries[#entries]
    entries = tail and Q.undelivered(queue, priority, portion, '(' .. tail[1]) or {}
    if #entries == 0 then
      while waiting[turn] do
        ids[#ids + 1] = waiting[turn].id
        turn = turn + 1
      end
    end
  end
end

for priority = last and tonumber(last.priority) or 9, 0, -1 do
  level(priority)
  if #ids >= limit then
    break
  end
end
while #ids > limit do
  ids[#ids] = nil
end
return ids
