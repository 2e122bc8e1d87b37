-- The server's clock as a text: whole milliseconds since the epoch. A third cheaper than numbers made a text.
local function stamp()
  local time = redis.call('TIME')
  return string.format('%s%03d', time[1], time[2] / 1000)
end
