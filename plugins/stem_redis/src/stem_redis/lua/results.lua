-- uses: clock outcome
-- The statuses at these keys, an empty text for each that is not there.
local now = clock()
local found = redis.call('MGET', unpack(KEYS))
for n, value in ipairs(found) do
  local outcome = value and O.parse(value)
  found[n] = outcome and outcome.run and outcome.kept > now and outcome.body or ''
end
return found
