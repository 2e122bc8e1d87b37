-- uses: clock
-- Store one message that is to run at once, where nothing is out of the ordinary; replies 1. Else replies 0, and nothing
-- is changed: `publish` knows what to do. It takes twice as long, a third of that for the functions that scripts share.
-- KEYS: the index, the names of queues; of the queue: what is delayed, its wake, its levels, its stream of this
-- priority; the outcome of the id; of the queue: the offers of those who wait, what stands aside, the leases.
-- ARGV: the queue, the id, the priority, the body.
local now = clock()
local id, body = ARGV[2], ARGV[4]
if redis.call('HEXISTS', KEYS[1], id) == 1 then
  return 0
end
-- Mostly there is none of the three, or the offers alone.
local there, offered = redis.call('EXISTS', KEYS[7], KEYS[3], KEYS[8]), nil
if there > 0 then
  -- The freshest first: who made it is awake.
  offered = redis.call('ZREVRANGEBYSCORE', KEYS[8], '+inf', now, 'LIMIT', 0, 4)
  if (there > 1 or #offered == 0) and (redis.call('EXISTS', KEYS[7]) == 1
    or #redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 1) > 0) then
    return 0
  end
end
local since = string.format('%.0f', now)
local tail = '|0|' .. since .. '|' .. since .. '||'

-- Somebody waits for work and has nothing: the message goes there with its first grant. That lasts two seconds, and
-- for the usual time once it is confirmed; without that it is ready again, and no crash is counted.
for _, offer in ipairs(offered and #body <= 16384 and offered or {}) do
  local channel, serial = string.match(offer, '^(%S+) (%S+)$')
  local token = 'a/1/' .. serial .. '.1'
  redis.call('ZADD', KEYS[8], -now, offer)
  redis.call('HSET', KEYS[1], id, token .. '|H|' .. ARGV[1] .. '|' .. ARGV[3] .. '||1|1' .. tail)
  redis.call('HSET', KEYS[9], id, body)
  redis.call('ZADD', KEYS[10], now + 2000, id)
  local meta = since .. '|' .. id .. '|1|1|' .. since .. '||0|' .. ARGV[3]
  -- May be forbidden to this user.
  local heard = redis.pcall('PUBLISH', channel, ARGV[1] .. ' ' .. token .. ' ' .. meta .. '\n' .. body)
  if type(heard) == 'number' and heard > 0 then
    redis.call('SADD', KEYS[2], ARGV[1])
    return 1
  end
  -- Its connection is gone.
  redis.call('ZREM', KEYS[8], offer)
  redis.call('HDEL', KEYS[1], id)
  redis.call('HDEL', KEYS[9], id)
  redis.call('ZREM', KEYS[10], id)
end

local meta = since .. '|' .. id
-- A stream that is there is known as in use; else as Q.use does.
local entry = redis.call('XADD', KEYS[6], 'NOMKSTREAM', '*', 'm', meta, 'b', body)
if not entry then
  local used = redis.call('GET', KEYS[5]) or ''
  if not string.find(used, ARGV[3], 1, true) then
    redis.call('SET', KEYS[5], used .. ARGV[3])
  end
  redis.call('SADD', KEYS[2], ARGV[1])
  entry = redis.call('XADD', KEYS[6], '*', 'm', meta, 'b', body)
end
redis.call('HSET', KEYS[1], id, '|R|' .. ARGV[1] .. '|' .. ARGV[3] .. '|' .. entry .. '|0|1|0||' .. since .. '||')
-- As Q.ring does.
if offered and #offered > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[8], '(0', '+inf')
end
if redis.call('LLEN', KEYS[4]) == 0 then
  redis.call('RPUSH', KEYS[4], 1)
  redis.call('PEXPIRE', KEYS[4], 5000)
end
return 1
