-- What is kept of an id at its own key: last run|marked until|token that acked it|run|kind|kept until, a line feed, and
-- the status as JSON. The last three and the JSON are empty without a status.
-- Kinds: r running, t terminal, o other.
local O = {}

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

-- Tell the sessions that wait for these ids, each by one publication. KEYS[3] is the hash of who waits.
function O.tell(waiters, ids)
  if #ids == 0 or redis.call('EXISTS', waiters) == 0 then
    return
  end
  local sessions, order = {}, {}
  local waiting = redis.call('HMGET', waiters, unpack(ids))
  for n, names in ipairs(waiting) do
    for name in string.gmatch(names or '', '%S+') do
      if not sessions[name] then
        sessions[name] = {}
        order[#order + 1] = name
      end
      table.insert(sessions[name], ids[n])
    end
  end
  for _, name in ipairs(order) do
    redis.call('PUBLISH', name, table.concat(sessions[name], ' '))
  end
end
