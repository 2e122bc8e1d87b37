-- The server's clock: milliseconds since the epoch, whole and exact.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000), time[1] * 1000 + time[2] / 1000
end
