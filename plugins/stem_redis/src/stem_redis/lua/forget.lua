-- uses: clock outcome
-- frees
-- Remove statuses; what marks the ids stays. Replies: how many there were.
local now = clock()
local forgotten = 0
for _, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  local outcome = value and O.parse(value)
  if outcome and outcome.run and outcome.kept > now then
    forgotten = forgotten + 1
    outcome.last = math.max(outcome.last, outcome.run)
    outcome.run, outcome.kind, outcome.kept, outcome.body = nil, nil, nil, ''
    O.write(key, outcome, now)
  end
end
return forgotten
