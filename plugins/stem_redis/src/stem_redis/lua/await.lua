-- uses: clock outcome
-- frees
-- Say that a session waits for an id, then look at it. KEYS: who waits, the outcome. ARGV: the id, the session's
-- channel, milliseconds after which the wait is forgotten (0: wait no more). Replies: kind and status, empty when
-- there is none.
local now = clock()
local others = ''
for name in string.gmatch(redis.call('HGET', KEYS[1], ARGV[1]) or '', '%S+') do
  if name ~= ARGV[2] then
    others = others .. ' ' .. name
  end
end
local value = redis.call('GET', KEYS[2])
local outcome = value and O.parse(value)
local there = outcome and outcome.run and outcome.kept > now
if tonumber(ARGV[3]) > 0 and not (there and outcome.kind == 't') then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. others)
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  end
elseif others == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], others)
end
return {there and outcome.kind or '', there and outcome.body or ''}
