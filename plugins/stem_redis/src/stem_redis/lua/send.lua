-- uses: clock
-- frees
-- Keep a message for all who listen to a channel, and tell them. KEYS: the channel's stream, the count of what was
-- sent. ARGV: milliseconds to keep it, the message, the name to publish to.
local now = clock()
local ttl = math.max(1, math.ceil(tonumber(ARGV[1])))
local number = redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[1], '*', 's', now, 'u', now + ttl, 'n', number, 'm', ARGV[2])
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 100)) do
  if tonumber(entry[2][4]) > now then
    break
  end
  redis.call('XDEL', KEYS[1], entry[1])
end
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < ttl then
    redis.call('PEXPIRE', key, ttl)
  end
end
redis.call('PUBLISH', ARGV[3], '')
return number
