-- What is kept of an id at its own key: last run|marked until|token that acked it|run|kind|kept until, a line feed, and
-- the status as JSON. The last three and the JSON are empty without a status.
-- Kinds: r running, t terminal, o other.
-- CARRIED: a status of more bytes is not told to who waits for it, who fetches it then.
local O = {CARRIED = 16384}

function O.parse(value)
  local last, marked, token, run, kind, kept, at = string.match(
    value, '^(%d+)|(%d+)|([^|]*)|(%d*)|(%a?)|(%d*)\n()')
  if not last then
    return {last = 0, marked = 0, token = '', body = ''}
  end
  return {
    last = tonumber(last), marked = tonumber(marked), token = token, run = tonumber(run), kind = kind,
    kept = tonumber(kept), body = string.sub(value, at),
  }
end

function O.write(key, one, now)
  local until_ = math.max(one.marked, one.forgotten or 0, one.kept or 0)
  if until_ <= now then
    redis.call('DEL', key)
    return
  end
  redis.call(
    'SET', key,
    one.last .. '|' .. one.marked .. '|' .. one.token .. '|' .. (one.run or '') .. '|' .. (one.kind or '') .. '|'
      .. (one.kept or '') .. '\n' .. one.body,
    'PX', until_ - now)
end

-- stem_core.model.supersedes; a status whose time is over counts as none.
function O.supersedes(run, kind, old, now)
  if not old.run or old.kept <= now or run > old.run then
    return true
  end
  if run < old.run then
    return false
  end
  if kind == 'r' then
    return old.kind == 'r'
  end
  return old.kind ~= 't'
end

-- Tell the sessions that wait for these ids, each by one publication: for every id a line with the size of its status,
-- then the status; a dash, and no status, where it is large. Nobody waits for them any more then.
function O.tell(waiters, ids, statuses)
  if #ids == 0 or redis.call('EXISTS', waiters) == 0 then
    return
  end
  local sessions, order = {}, {}
  local waiting, told = redis.call('HMGET', waiters, unpack(ids)), {}
  for n, names in ipairs(waiting) do
    if names then
      local status = statuses[n]
      local text = #status > O.CARRIED and ids[n] .. ' -\n' or ids[n] .. ' ' .. #status .. '\n' .. status
      for name in string.gmatch(names, '%S+') do
        if not sessions[name] then
          sessions[name] = {}
          order[#order + 1] = name
        end
        table.insert(sessions[name], text)
      end
      told[#told + 1] = ids[n]
    end
  end
  for _, name in ipairs(order) do
    redis.call('PUBLISH', name, table.concat(sessions[name]))
  end
  if #told > 0 then
    redis.call('HDEL', waiters, unpack(told))
  end
end
