-- uses: clock
-- Store one message that is to run at once, where nothing is out of the ordinary; replies 1. Else replies 0, and nothing
-- is changed: `publish` knows what to do. It takes twice as long, a third of that for the functions that scripts share.
-- KEYS: the index, the names of queues; of the queue: what is delayed, its wake, its levels, its stream of this
-- priority; the outcome of the id.
-- ARGV: the queue, the id, the priority, the body.
local now = clock()
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 or redis.call('EXISTS', KEYS[7]) == 1
  or #redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 1) > 0 then
  return 0
end
local since = string.format('%.0f', now)
local meta = since .. '|' .. ARGV[2]
-- A stream that is there is known as in use; else as Q.use does.
local entry = redis.call('XADD', KEYS[6], 'NOMKSTREAM', '*', 'm', meta, 'b', ARGV[4])
if not entry then
  local used = redis.call('GET', KEYS[5]) or ''
  if not string.find(used, ARGV[3], 1, true) then
    redis.call('SET', KEYS[5], used .. ARGV[3])
  end
  redis.call('SADD', KEYS[2], ARGV[1])
  entry = redis.call('XADD', KEYS[6], '*', 'm', meta, 'b', ARGV[4])
end
redis.call('HSET', KEYS[1], ARGV[2], '|R|' .. ARGV[1] .. '|' .. ARGV[3] .. '|' .. entry .. '|0|1|0||' .. since .. '||')
-- As Q.ring does.
if redis.call('LLEN', KEYS[4]) == 0 then
  redis.call('RPUSH', KEYS[4], 1)
  redis.call('PEXPIRE', KEYS[4], 5000)
end
return 1
