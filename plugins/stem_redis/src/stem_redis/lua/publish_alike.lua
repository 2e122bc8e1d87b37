-- uses: since
-- Store messages of one queue and priority that are to run at once, where nothing is out of the ordinary; replies 1. Else
-- replies 0, and nothing is changed: `publish` knows what to do, and takes a fifth longer.
-- KEYS: the index, the names of queues; of the queue: what is delayed, its wake, its levels, its stream of this
-- priority, the offers of those who wait; the outcome of each id, of which the id is the end.
-- ARGV: the queue, the priority, what stands before the id in the key of its outcome, then the bodies.
local stream, from, FIRST = KEYS[6], #ARGV[3] + 1, 7
local count = #KEYS - FIRST
local there = redis.call('EXISTS', KEYS[3], unpack(KEYS, FIRST + 1))
if there > 0 and (there > 1 or redis.call('EXISTS', KEYS[3]) == 0
  or #redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', C.now(), 'LIMIT', 0, 1) > 0) then
  return 0
end
local ids, seen = {}, {}
for n = 1, count do
  local id = string.sub(KEYS[FIRST + n], from)
  if seen[id] then
    return 0
  end
  ids[n], seen[id] = id, true
end
local known = redis.call('HMGET', KEYS[1], unpack(ids))
for n = 1, count do
  if known[n] then
    return 0
  end
end
if redis.call('EXISTS', stream) == 0 then
  -- As Q.use does.
  local used = redis.call('GET', KEYS[5]) or ''
  if not string.find(used, ARGV[2], 1, true) then
    redis.call('SET', KEYS[5], used .. ARGV[2])
  end
  redis.call('SADD', KEYS[2], ARGV[1])
end
local head, tail = '|R|' .. ARGV[1] .. '|' .. ARGV[2] .. '|', '|0|1|0||' .. C.since() .. '||'
local since, records = C.since() .. '|', {}
for n = 1, count do
  local id = ids[n]
  local entry = redis.call('XADD', stream, '*', since .. id, ARGV[3 + n])
  records[2 * n - 1], records[2 * n] = id, head .. entry .. tail
end
redis.call('HSET', KEYS[1], unpack(records))
-- As Q.ring does.
local missing = math.min(count, 8) - redis.call('LLEN', KEYS[4])
if missing > 0 then
  for _ = 1, missing do
    redis.call('RPUSH', KEYS[4], 1)
  end
  redis.call('PEXPIRE', KEYS[4], 5000)
  redis.call('ZREMRANGEBYSCORE', KEYS[7], '(0', '+inf')
end
return 1
