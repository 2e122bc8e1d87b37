-- A bundle is an entry with several messages that were published together: for each a field as an entry of one message
-- has. It stays while one of them is ready in it, which their records tell; what is granted of it goes aside.
-- MOST: so many messages has a bundle at most, from `publish_alike`.
local B = {MOST = 16, ids = false, ready = false, leave = false}

-- The ids in an entry; nothing when it cannot be read.
function B.ids(entry)
  local fields, ids = entry[2], {}
  for at = 1, #fields, 2 do
    if not Q.ours(fields[at + 1]) then
      return
    end
    ids[(at + 1) / 2] = Q.id(fields[at])
  end
  return ids[1] and ids
end

-- What is ready in an entry of a level: ids, and places of their bodies among its fields. Nothing when it cannot be read.
-- `whole`: all of it, which need not be looked up then. `queue.granted`: ids that are granted already, while their
-- records do not say so.
function B.ready(queue, priority, entry, whole)
  local ids, places = B.ids(entry), {}
  if not ids or whole then
    for n = 1, ids and #ids or 0 do
      places[n] = 2 * n
    end
    return ids, places
  end
  local still, granted, start = {}, queue.granted, '|R|' .. queue.name .. '|' .. priority .. '|' .. entry[1] .. '|'
  for n, record in ipairs(redis.call('HMGET', Q.JOBS, unpack(ids))) do
    if record and string.find(record, start, 1, true) == 1 and not (granted and granted[ids[n]]) then
      still[#still + 1], places[#places + 1] = ids[n], 2 * n
    end
  end
  return still, places
end

-- Take a message out of the stream in which it is ready. Its record still says so.
function B.leave(queue, job)
  local entry = Q.entry(queue, job)
  if entry and #entry[2] > 2 and #B.ready(queue, job.priority, entry) > 1 then
    redis.call('DECR', queue.extra)
    redis.call('SET', queue.picked, 1)
  else
    redis.call('XDEL', Q.stream(queue, job.priority), job.entry)
  end
end
