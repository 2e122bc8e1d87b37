-- uses: clock
-- frees
-- A message that was handed over has come to its receiver, and has a lease as others from now on. KEYS: the index, the
-- leases of the queue. ARGV: lease in milliseconds, id, token.
local now = clock()
local token, record = ARGV[3], redis.call('HGET', KEYS[1], ARGV[2])
if record and string.sub(record, 1, #token + 3) == token .. '|H|' then
  redis.call('HSET', KEYS[1], ARGV[2], token .. '|l|' .. string.sub(record, #token + 4))
  redis.call('ZADD', KEYS[2], now + ARGV[1], ARGV[2])
end
