-- uses: since
-- Store one message that is to run at once, where nothing is out of the ordinary; replies 1. Else replies 0, and nothing
-- is changed: `publish` knows what to do. It takes more than twice as long, most of that for what scripts share.
-- KEYS: the index, the names of queues; of the queue: what is delayed, its wake, its levels, its stream of this
-- priority, the offers of those who wait, what stands aside, the leases; the outcome of the id.
-- ARGV: the queue, the id, the priority, the body.
local id, body = ARGV[2], ARGV[4]
-- Mostly there is none of the three, or the offers alone.
local there, offered, now = redis.call('EXISTS', KEYS[10], KEYS[3], KEYS[7]), nil, nil
if there > 0 then
  local time = redis.call('TIME')
  now = given or string.format('%s%03d', time[1], time[2] / 1000)
  -- Who has waited longest is the first, so that workers take turns.
  offered = redis.call('ZRANGEBYSCORE', KEYS[7], now, '+inf', 'LIMIT', 0, 4)
  if (there > 1 or #offered == 0) and (redis.call('EXISTS', KEYS[10]) == 1
    or #redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 1) > 0) then
    return 0
  end
end

-- Somebody waits for work and has nothing: the message goes there with its first grant. That lasts two seconds, and
-- for the usual time once it is confirmed; without that it is ready again, and no crash is counted.
for n = 1, offered and #body <= 16384 and #offered or 0 do
  local offer = offered[n]
  local channel, serial = string.match(offer, '^(%S+) (%S+)$')
  local token = 'a/1/' .. serial .. '.1'
  local record = token .. '|H|' .. ARGV[1] .. '|' .. ARGV[3] .. '||1|1|0|' .. now .. '|' .. now .. '||'
  if redis.call('HSETNX', KEYS[1], id, record) == 0 then
    return 0
  end
  redis.call('HSET', KEYS[8], id, body)
  redis.call('ZADD', KEYS[9], now + 2000, id)
  redis.call('ZADD', KEYS[7], '-' .. now, offer)
  local meta = now .. '|' .. id .. '|1|1|' .. now .. '||0|' .. ARGV[3]
  -- May be forbidden to this user.
  local heard = redis.pcall('PUBLISH', channel, ARGV[1] .. ' ' .. token .. ' ' .. meta .. '\n' .. body)
  if type(heard) == 'number' and heard > 0 then
    redis.call('SADD', KEYS[2], ARGV[1])
    return 1
  end
  -- Its connection is gone.
  redis.call('ZREM', KEYS[7], offer)
  redis.call('HDEL', KEYS[1], id)
  redis.call('HDEL', KEYS[8], id)
  redis.call('ZREM', KEYS[9], id)
end

local since, meta = given or '', given and given .. '|' .. id or id
-- A stream that is there is known as in use; else as Q.use does.
local entry = redis.call('XADD', KEYS[6], 'NOMKSTREAM', '*', meta, body)
if not entry then
  if redis.call('HEXISTS', KEYS[1], id) == 1 then
    return 0
  end
  local used = redis.call('GET', KEYS[5]) or ''
  if not string.find(used, ARGV[3], 1, true) then
    redis.call('SET', KEYS[5], used .. ARGV[3])
  end
  redis.call('SADD', KEYS[2], ARGV[1])
  entry = redis.call('XADD', KEYS[6], '*', meta, body)
end
local record = '|R|' .. ARGV[1] .. '|' .. ARGV[3] .. '|' .. entry .. '|0|1|0||' .. since .. '||'
if redis.call('HSETNX', KEYS[1], id, record) == 0 then
  -- To look for the id first would cost every message 6 % of this script.
  redis.call('XDEL', KEYS[6], entry)
  return 0
end
-- As Q.ring does.
if redis.call('LLEN', KEYS[4]) == 0 then
  redis.call('RPUSH', KEYS[4], 1)
  redis.call('PEXPIRE', KEYS[4], 5000)
  if there > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[7], '(0', '+inf')
  end
end
return 1
