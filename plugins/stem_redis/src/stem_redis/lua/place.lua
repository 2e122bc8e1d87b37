-- uses: clock
-- Where listening starts in each of the channels. ARGV: since when in milliseconds, or nothing for now.
local places = {}
for n, key in ipairs(KEYS) do
  local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)
  places[n] = last[1] and last[1][1] or '0-0'
  if ARGV[1] ~= '' and last[1] then
    local before, since, start = '0-0', tonumber(ARGV[1]), '-'
    while start do
      local entries = redis.call('XRANGE', key, start, '+', 'COUNT', 500)
      start = nil
      for _, entry in ipairs(entries) do
        if tonumber(entry[2][2]) >= since then
          start = nil
          break
        end
        before, start = entry[1], '(' .. entry[1]
      end
    end
    places[n] = before
  end
end
return places
