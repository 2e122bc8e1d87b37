-- uses: clock outcome
-- frees
-- Store statuses where they supersede what is stored. KEYS: who waits for results, then the outcome of each. ARGV: for
-- each id, run|kind|milliseconds to keep, status.
local now = clock()
local finished, statuses = {}, {}
for n = 1, #ARGV / 3 do
  local at = 3 * n - 2
  local key, id = KEYS[n + 1], ARGV[at]
  local run, kind, ttl = string.match(ARGV[at + 1], '^(%d+)|(%a)|(%d+)$')
  run = tonumber(run)
  local old = redis.call('GET', key)
  local outcome = old and O.parse(old) or {last = 0, marked = 0, token = '', body = ''}
  if O.supersedes(run, kind, outcome, now) then
    outcome.run, outcome.kind, outcome.kept, outcome.body = run, kind, now + ttl, ARGV[at + 2]
    O.write(key, outcome, now)
    if kind == 't' then
      finished[#finished + 1], statuses[#statuses + 1] = id, ARGV[at + 2]
    end
  end
end
O.tell(KEYS[1], finished, statuses)
return #finished
