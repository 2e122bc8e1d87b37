-- uses: clock queue
-- frees
-- Grant ready messages of several queues. KEYS: for each queue its own. ARGV: lease in milliseconds, suspects, serial,
-- limit, number of queues, their names, then the steps of the plan: number of a queue, at most.
-- Replies: now, when to look again (or false), suspects that were left (id, rank, ...), and for each delivery the number
-- of its queue, token, meta, body.
local lease, suspects, serial, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local count = tonumber(ARGV[5])
local now = clock()
local taken, granted = 0, {}

local since, deadline = string.format('%.0f', now), string.format('%.0f', now + lease)

local function note(queue, number, id, token, record, meta, body)
  local records, deadlines, at = queue.records, queue.deadlines, #granted
  local size = #records
  records[size + 1], records[size + 2] = id, record
  deadlines[size + 1], deadlines[size + 2] = deadline, id
  granted[at + 1], granted[at + 2], granted[at + 3], granted[at + 4] = number, token, meta, body
end

local function grant(queue, number, id, state, place, job, meta, body)
  taken = taken + 1
  job.state, job.token, job.queue, job.why = state, place .. '/' .. job.run .. '/' .. serial .. '.' .. taken, queue.name, ''
  note(queue, number, id, job.token, format(job), meta, body)
end

-- The usual case: the first run of a message.
local function grant_first(queue, number, priority, entry, ready, id, meta, body)
  taken = taken + 1
  local token = priority .. '/' .. entry .. '/1/' .. serial .. '.' .. taken
  local record = token .. '|L|' .. queue.name .. '|' .. priority .. '|' .. entry .. '|1|1|0|' .. since .. '|' .. ready .. '||'
  note(queue, number, id, token, record, meta, body)
end

-- An entry that none of us wrote goes to the dead letters as it is.
local function quarantine(queue, priority, entry)
  local id = 'unreadable.' .. entry[1]
  local raw = table.concat(entry[2] or {}, ' ')
  redis.call('HSET', queue.aside, id, string.char(0, 0, 0, 0, 255, 255, 255, 255) .. raw)
  redis.call('ZADD', queue.dead, now, id)
  redis.call('HSET', JOBS, id, format({
    token = '', state = 'X', queue = queue.name, priority = priority, entry = '', run = '0', attempt = '1',
    crashes = '0', first = '', ready = now, sealed = '', why = '["unreadable","an entry without message in the stream"]',
  }))
  redis.call('XDEL', stream(queue, priority), entry[1])
end

local function grant_entry(queue, number, priority, entry)
  local fields = entry[2]
  local meta, body = fields[2], fields[4]
  local bar = fields[1] == 'm' and fields[3] == 'b' and string.find(meta, '|', 1, true)
  if not bar then
    return quarantine(queue, priority, entry)
  end
  if not string.find(meta, '|', bar + 1, true) then
    return grant_first(
      queue, number, priority, entry[1], string.sub(meta, 1, bar - 1), string.sub(meta, bar + 1), meta, body)
  end
  local ready, id, run, attempt, first, sealed = string.match(meta, '^(%d+)|([^|]+)|(%d+)|(%d+)|(%d*)|(.*)$')
  if not ready then
    return quarantine(queue, priority, entry)
  end
  grant(queue, number, id, 'L', priority .. '/' .. entry[1], {
    priority = priority, entry = entry[1], run = tostring(run + 1), attempt = attempt, crashes = '0',
    first = first ~= '' and first or since, ready = ready, sealed = sealed,
  }, meta, body)
end

-- The group is lost, or was never made: what is leased stands before what is ready.
local function regroup(queue, priority)
  local key, last = stream(queue, priority), '0'
  if redis.call('EXISTS', key) == 0 then
    disuse(queue, priority)
    return false
  end
  local entries = redis.call('XRANGE', key, '-', '+', 'COUNT', PORTION)
  while #entries > 0 do
    for _, entry in ipairs(entries) do
      local id = string.match(entry[2][2] or '', '^%d+|([^|]+)')
      local record = id and redis.call('HGET', JOBS, id)
      if not record or string.match(record, '^[^|]*|(%a)') ~= 'L' then
        entries = {}
        break
      end
      last = entry[1]
    end
    if #entries > 0 then
      entries = redis.call('XRANGE', key, '(' .. last, '+', 'COUNT', PORTION)
    end
  end
  redis.call('XGROUP', 'CREATE', key, GROUP, last)
  return true
end

local function read(queue, number, priority, wanted)
  local key, before = stream(queue, priority), taken
  -- Without acknowledgement: who holds what stands in the index and the leases. The group is the place of reading.
  local found = redis.pcall('XREADGROUP', 'GROUP', GROUP, GROUP, 'COUNT', wanted, 'NOACK', 'STREAMS', key, '>')
  if found and found.err then
    if not string.find(found.err, 'NOGROUP', 1, true) then
      error(found.err)
    end
    if not regroup(queue, priority) then
      return 0
    end
    found = redis.call('XREADGROUP', 'GROUP', GROUP, GROUP, 'COUNT', wanted, 'NOACK', 'STREAMS', key, '>')
  end
  if not found then
    if redis.call('XLEN', key) == 0 then
      disuse(queue, priority)
    end
    return 0
  end
  for _, entry in ipairs(found[1][2]) do
    grant_entry(queue, number, priority, entry)
  end
  return taken - before
end

local function grant_suspect(queue, number, id)
  local record, body = redis.call('HGET', JOBS, id), redis.call('HGET', queue.aside, id)
  redis.call('ZREM', queue.suspects, id)
  if not record or not body then
    redis.call('HDEL', JOBS, id)
    return 0
  end
  local job = parse(record)
  job.run, job.entry = tostring(job.run + 1), ''
  if job.token ~= '' then
    job.crashes = tostring(job.crashes + 1)
  end
  if job.first == '' then
    job.first = since
  end
  suspects = suspects - 1
  local meta = job.ready .. '|' .. id .. '|' .. job.run .. '|' .. job.attempt .. '|' .. job.first .. '|' .. job.sealed .. '|'
    .. job.crashes .. '|' .. job.priority
  grant(queue, number, id, 'l', 'a', job, meta, body)
  return 1
end

-- One level that holds suspects too: by the time since which each is ready.
local function take_mixed(queue, number, priority, wanted, waiting)
  local entries = undelivered(queue, priority, wanted)
  local next_entry, got, clean = 1, 0, 0
  for _, suspect in ipairs(waiting) do
    while entries[next_entry] and ready_since(entries[next_entry]) < suspect.ready and got + clean < wanted do
      next_entry, clean = next_entry + 1, clean + 1
    end
    if clean > 0 then
      got = got + read(queue, number, priority, clean)
      clean = 0
    end
    if got < wanted then
      got = got + grant_suspect(queue, number, suspect.id)
    end
  end
  if got < wanted and string.find(used(queue), priority, 1, true) then
    got = got + read(queue, number, priority, wanted - got)
  end
  return got
end

local function suspects_of(queue)
  local bands = {}
  if suspects > 0 then
    local found = redis.call('ZRANGE', queue.suspects, 0, suspects - 1, 'WITHSCORES')
    for n = 1, #found, 2 do
      local band = math.floor(found[n + 1] / BAND)
      bands[9 - band] = bands[9 - band] or {}
      table.insert(bands[9 - band], {id = found[n], ready = found[n + 1] - band * BAND})
    end
  end
  return bands
end

local function take(queue, number, wanted)
  local bands, got = suspects_of(queue), 0
  for priority = 9, 0, -1 do
    local level = tostring(priority)
    if bands[priority] then
      got = got + take_mixed(queue, number, level, wanted - got, bands[priority])
    elseif string.find(used(queue), level, 1, true) then
      got = got + read(queue, number, level, wanted - got)
    end
    if got >= wanted then
      break
    end
  end
  return got
end

local queues = {}
for number = 1, count do
  local queue = open_queue(2 + (number - 1) * PER_QUEUE, ARGV[5 + number])
  queue.records, queue.deadlines = {}, {}
  queues[number] = queue
  promote(queue, now)
end
for step = 6 + count, #ARGV, 2 do
  local number = tonumber(ARGV[step])
  local queue, wanted = queues[number], math.min(tonumber(ARGV[step + 1]), limit - taken)
  if wanted > 0 and not queue.dry then
    queue.tried, queue.dry = true, take(queue, number, wanted) < wanted
  end
end

local again, left = nil, {}
for _, queue in ipairs(queues) do
  if #queue.records > 0 then
    redis.call('HSET', JOBS, unpack(queue.records))
    redis.call('ZADD', queue.leases, unpack(queue.deadlines))
  end
  if queue.dry then
    for _, key in ipairs({queue.delayed, queue.leases}) do
      local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
      if head[1] and (not again or tonumber(head[2]) < again) then
        again = tonumber(head[2])
      end
    end
    local waiting = redis.call('ZRANGE', queue.suspects, 0, 99, 'WITHSCORES')
    for _, item in ipairs(waiting) do
      left[#left + 1] = item
    end
    if #waiting == 0 then
      -- Nothing is ready, so no wake that lies there is worth anything.
      redis.call('DEL', queue.wake)
      if used(queue) == '' then
        tidy(queue)
      end
    end
  elseif queue.tried and taken >= limit then
    -- The wake that was meant for more than could be taken goes on to the next.
    ring(queue, 1)
  end
end
return {now, again or false, left, granted}
