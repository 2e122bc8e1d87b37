-- uses: clock queue
-- How much one queue holds, by the sizes of its keys. Changes nothing. ARGV: age of dead letters in milliseconds.
-- Replies: ready, delayed, leased, dead, milliseconds since the oldest became ready (or false).
local now = clock()
local queue = Q.open(2, '')
local entries, oldest = Q.bundled(queue), nil
local function since(time)
  if time and (not oldest or time < oldest) then
    oldest = time
  end
end
for priority in string.gmatch(Q.used(queue), '%d') do
  entries = entries + redis.call('XLEN', Q.stream(queue, priority))
  local head = Q.undelivered(queue, priority, 1)[1]
  since(head and Q.ready_since(head))
end
local delayed, leases = redis.call('ZCARD', queue.delayed), redis.call('ZCARD', queue.leases)
local suspects, dead = redis.call('ZCARD', queue.suspects), redis.call('ZCARD', queue.dead)
local aside_leased = redis.call('HLEN', queue.aside) - delayed - suspects - dead
local due, over = 0, 0
for _, key in ipairs({queue.delayed, queue.leases}) do
  local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if head[1] and tonumber(head[2]) <= now then
    since(tonumber(head[2]))
    local found = redis.call('ZCOUNT', key, '-inf', now)
    if key == queue.delayed then
      due = found
    else
      over = found
    end
  end
end
if suspects > 0 then
  for band = 0, 9 do
    local head = redis.call(
      'ZRANGEBYSCORE', queue.suspects, band * Q.BAND, (band + 1) * Q.BAND, 'WITHSCORES', 'LIMIT', 0, 1)
    since(head[1] and tonumber(head[2]) - band * Q.BAND)
  end
end
if dead > 0 then
  dead = redis.call('ZCOUNT', queue.dead, '(' .. (now - ARGV[1]), '+inf')
end
return {
  entries - (leases - aside_leased) + suspects + due + over, delayed - due, leases - over, dead,
  oldest and now - oldest or false,
}
