-- uses: clock
-- frees
-- Records of one collection. KEYS: the version of the store, then of the collection: values, versions, ends. A value is
-- version|end|bytes. ARGV: the verb and what it takes.
local now, exact = clock()
local VERSION, VALUES, VERSIONS, ENDS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function forget(keys)
  redis.call('HDEL', VALUES, unpack(keys))
  redis.call('ZREM', VERSIONS, unpack(keys))
  redis.call('ZREM', ENDS, unpack(keys))
end

local function get(key)
  local value = redis.call('HGET', VALUES, key)
  if not value then
    return
  end
  local version, ends, at = string.match(value, '^(%d+)|(%d*)|()')
  if ends ~= '' and tonumber(ends) <= now then
    return
  end
  return version, string.sub(value, at)
end

-- The collection as a whole is gone when the last of its records is.
local function let_go()
  local last = redis.call('ZREVRANGE', ENDS, 0, 0, 'WITHSCORES')
  local endless = redis.call('HLEN', VALUES) > redis.call('ZCARD', ENDS)
  for _, key in ipairs({VALUES, VERSIONS, ENDS}) do
    if endless or not last[1] then
      redis.call('PERSIST', key)
    else
      redis.call('PEXPIRE', key, math.max(1, tonumber(last[2]) - now))
    end
  end
end

local verb, key = ARGV[1], ARGV[2]
if verb == 'get' then
  local version, value = get(key)
  return version and {version, value} or false
elseif verb == 'list' then
  local keys = redis.call('ZRANGEBYSCORE', VERSIONS, '(' .. ARGV[2], '+inf')
  local found = {}
  for _, name in ipairs(keys) do
    local version, value = get(name)
    if version then
      local size = #found
      found[size + 1], found[size + 2], found[size + 3] = name, version, value
    end
  end
  return found
elseif verb == 'delete' then
  local version = get(key)
  forget({key})
  return version and 1 or 0
end
-- put: key, value, milliseconds to live (or nothing), version that it must have (or nothing)
local old = redis.call('ZRANGEBYSCORE', ENDS, '-inf', now, 'LIMIT', 0, 100)
if #old > 0 then
  forget(old)
end
if ARGV[5] ~= '' then
  local version = get(key) or '0'
  if version ~= ARGV[5] then
    return {0, version}
  end
end
-- Versions go on from the clock, so that they rise although the store was emptied.
local last, time = redis.call('GET', VERSION) or '0', string.format('%.0f', math.floor(exact * 1000))
local version = tonumber(last) >= tonumber(time) and string.format('%.0f', tonumber(last) + 1) or time
redis.call('SET', VERSION, version)
local ends = ARGV[4] ~= '' and string.format('%.0f', math.ceil(now + ARGV[4])) or ''
redis.call('HSET', VALUES, key, version .. '|' .. ends .. '|' .. ARGV[3])
redis.call('ZADD', VERSIONS, version, key)
if ends ~= '' then
  redis.call('ZADD', ENDS, ends, key)
else
  redis.call('ZREM', ENDS, key)
end
let_go()
return {1, version}
