-- Claims among suspects: what is ready after a crash and stands aside, with its rank.
-- Made only where there are some: functions cost more than most of what a claim does. `C` is the claim.
local function with_suspects(C)
  local S = {}

  function S.grant(queue, number, id)
    local record, body = redis.call('HGET', Q.JOBS, id), redis.call('HGET', queue.aside, id)
    redis.call('ZREM', queue.suspects, id)
    if not record or not body then
      redis.call('HDEL', Q.JOBS, id)
      return 0
    end
    local job = Q.parse(record)
    job.run, job.entry = tostring(job.run + 1), ''
    if job.token ~= '' then
      job.crashes = tostring(job.crashes + 1)
    end
    if job.first == '' then
      job.first = C.since
    end
    C.suspects = C.suspects - 1
    local meta = job.ready .. '|' .. id .. '|' .. job.run .. '|' .. job.attempt .. '|' .. job.first .. '|' .. job.sealed
      .. '|' .. job.crashes .. '|' .. job.priority
    C.grant(queue, number, id, 'l', 'a', job, meta, body)
    return 1
  end

  -- How many messages of a level are ready since before a time, and `most` where there are more.
  function S.older(queue, priority, time, most)
    local found, last, count = 0, nil, 1
    repeat
      local entries = Q.undelivered(queue, priority, count, last and '(' .. last)
      for _, entry in ipairs(entries) do
        if found >= most or Q.ready_since(entry) >= time then
          return math.min(found, most)
        end
        found, last = found + #(B.ready(queue, priority, entry) or {}), entry[1]
      end
      count = math.min(2 * count, Q.PORTION)
    until #entries == 0
    return math.min(found, most)
  end

  -- One level that holds suspects too: by the time since which each is ready.
  function S.take(queue, number, priority, wanted, waiting)
    local got = 0
    if string.find(Q.used(queue), priority, 1, true) and not Q.last_delivered(queue, priority) then
      -- Else all that is leased there would be looked at for each suspect.
      C.regroup(queue, priority)
    end
    for _, suspect in ipairs(waiting) do
      local older = got < wanted and S.older(queue, priority, suspect.ready, wanted - got) or 0
      if older > 0 then
        got = got + C.read(queue, number, priority, older)
      end
      if got < wanted then
        got = got + S.grant(queue, number, suspect.id)
      end
    end
    if got < wanted and string.find(Q.used(queue), priority, 1, true) then
      got = got + C.read(queue, number, priority, wanted - got)
    end
    return got
  end

  -- By priority: the most urgent, from what the sorted set holds.
  function S.bands(found)
    local bands = {}
    for n = 1, #found, 2 do
      local band = math.floor(found[n + 1] / Q.BAND)
      bands[9 - band] = bands[9 - band] or {}
      table.insert(bands[9 - band], {id = found[n], ready = found[n + 1] - band * Q.BAND})
    end
    return bands
  end

  return S
end
