-- uses: clock
-- What came to the channels since the places, in order of sending. ARGV: the places.
-- Replies: for each number of the channel, place, message (false when it is over).
local now = clock()
local found = {}
for n, key in ipairs(KEYS) do
  for _, entry in ipairs(redis.call('XRANGE', key, '(' .. ARGV[n], '+', 'COUNT', 500)) do
    found[#found + 1] = {tonumber(entry[2][6]), n, entry[1], tonumber(entry[2][4]) > now and entry[2][8]}
  end
end
table.sort(found, function(a, b)
  return a[1] < b[1]
end)
local flat = {}
for _, one in ipairs(found) do
  local size = #flat
  flat[size + 1], flat[size + 2], flat[size + 3] = one[2], one[3], one[4]
end
return flat
