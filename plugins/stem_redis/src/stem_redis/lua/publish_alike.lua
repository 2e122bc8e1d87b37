-- uses: since
-- Store messages of one queue and priority that are to run at once, in bundles; replies 1. Else, where something is due
-- that has to stand before them, or an id had a life before, replies 0, and nothing is changed: `publish` knows what to
-- do, and takes twice as long.
-- KEYS: the index, the names of queues; of the queue: what is delayed, its wake, its levels, its stream of this
-- priority, the offers of those who wait, how many more messages are in bundles than there are bundles; the outcome of
-- each id, of which the id is the end.
-- ARGV: the queue, the priority, what stands before the id in the key of its outcome, then the bodies. No id comes twice.
local stream, from, FIRST = KEYS[6], #ARGV[3] + 1, 8
local count, finished = #KEYS - FIRST, {}
if redis.call('EXISTS', KEYS[3], unpack(KEYS, FIRST + 1)) > 0 then
  local time = redis.call('TIME')
  local now = given or string.format('%s%03d', time[1], time[2] / 1000)
  if #redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 1) > 0 then
    return 0
  end
  for n, outcome in ipairs(redis.call('MGET', unpack(KEYS, FIRST + 1))) do
    finished[n] = outcome
    if outcome and tonumber(string.match(outcome, '^%d+|(%d+)|') or 0) <= tonumber(now) then
      return 0
    end
  end
end
-- What is stored or was finished is passed over, for to leave all to `publish` would put them behind what is published
-- after them and is under way.
local ids, new, size = {}, {}, 0
for n = 1, count do
  ids[n] = string.sub(KEYS[FIRST + n], from)
end
for n, known in ipairs(redis.call('HMGET', KEYS[1], unpack(ids))) do
  if not known and not finished[n] then
    size = size + 1
    new[size] = n
  end
end
if size == 0 then
  return 1
end
if redis.call('EXISTS', stream) == 0 then
  -- As Q.use does.
  local used = redis.call('GET', KEYS[5]) or ''
  if not string.find(used, ARGV[2], 1, true) then
    redis.call('SET', KEYS[5], used .. ARGV[2])
  end
  redis.call('SADD', KEYS[2], ARGV[1])
end
local head, tail = '|R|' .. ARGV[1] .. '|' .. ARGV[2] .. '|', '|0|1|0||' .. (given or '') .. '||'
-- An entry by itself costs the server 14,800 instructions, one more message in a bundle 1,400. All of a bundle is read
-- again whenever a part of it is claimed, so it has an end, and a body that is larger by itself is alone.
local MOST, BYTES = 2 * 16, 4000
local records, fields, filled, bytes, bundles = {}, {}, 0, 0, 0
for at = 1, size do
  local id, body = ids[new[at]], ARGV[3 + new[at]]
  records[2 * at - 1] = id
  fields[filled + 1], fields[filled + 2] = given and given .. '|' .. id or id, body
  filled, bytes = filled + 2, bytes + #body
  if at == size or filled == MOST or bytes + #ARGV[3 + new[at + 1]] > BYTES then
    local record = head .. redis.call('XADD', stream, '*', unpack(fields, 1, filled)) .. tail
    for place = 2 * at, 2 * at - filled + 2, -2 do
      records[place] = record
    end
    filled, bytes, bundles = 0, 0, bundles + 1
  end
end
redis.call('HSET', KEYS[1], unpack(records))
if bundles < size then
  redis.call('INCRBY', KEYS[8], size - bundles)
end
-- As Q.ring does.
local missing = math.min(size, 8) - redis.call('LLEN', KEYS[4])
if missing > 0 then
  for _ = 1, missing do
    redis.call('RPUSH', KEYS[4], 1)
  end
  redis.call('PEXPIRE', KEYS[4], 5000)
  redis.call('ZREMRANGEBYSCORE', KEYS[7], '(0', '+inf')
end
return 1
