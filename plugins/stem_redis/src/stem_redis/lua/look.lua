-- uses: clock queue
-- What there is to receive in one queue. Changes nothing. Replies: now, 1 when something without crashes is ready, when
-- to look again (or false), suspects that are ready (id, rank, ...).
local now = clock()
local queue = Q.open(2, '')
local ready, again = 0, nil
for priority in string.gmatch(Q.used(queue), '%d') do
  if ready == 0 and Q.undelivered(queue, priority, 1)[1] then
    ready = 1
  end
end
for _, key in ipairs({queue.delayed, queue.leases}) do
  local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if head[1] and (not again or tonumber(head[2]) < again) then
    again = tonumber(head[2])
  end
end
if again and again <= now then
  ready = 1
end
return {now, ready, again or false, redis.call('ZRANGE', queue.suspects, 0, 99, 'WITHSCORES')}
