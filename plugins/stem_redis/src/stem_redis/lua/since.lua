-- The server's clock for what becomes ready now: as texts of whole milliseconds since the epoch.
local C = {}

function C.now()
  local time = redis.call('TIME')
  return string.format('%s%03d', time[1], time[2] / 1000)
end

-- What stands in a stream since it became ready: empty, as the number of its entry begins with that time.
function C.since()
  return ''
end

-- How an entry is named that holds a message for the first time.
function C.named(id)
  return id
end
