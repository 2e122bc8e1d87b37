-- uses: clock queue bundles
-- frees
-- Put messages of one queue into another. KEYS: those of the one, those of the other. ARGV: the one, the other, the
-- ids. Replies: how many were moved.
local now = clock()
local from, to = Q.open(2, ARGV[1]), Q.open(2 + Q.PER_QUEUE, ARGV[2])
Q.promote(from, now)
Q.promote(to, now)
local moved = 0
for n = 3, #ARGV do
  local id = ARGV[n]
  local record = redis.call('HGET', Q.JOBS, id)
  local job = record and Q.parse(record)
  local state = job and job.queue == ARGV[1] and job.state
  local body = (state == 'R' or state == 'D' or state == 'S') and Q.body_of(from, id, job)
  if body then
    local place = {priority = job.priority, entry = job.entry}
    if job.sealed == '' then
      job.sealed = ARGV[1]
    end
    job.queue = ARGV[2]
    if state == 'R' then
      Q.enter(to, id, job, body, job.ready)
      B.leave(from, place)
    else
      redis.call('HSET', to.aside, id, body)
      local key = state == 'D' and 'delayed' or 'suspects'
      redis.call('ZADD', to[key], redis.call('ZSCORE', from[key], id), id)
      if job.token ~= '' then
        -- Whoever held it loses it. That a lease ended still counts as a crash when the message is granted.
        job.token = '-'
      end
    end
    redis.call('HSET', Q.JOBS, id, Q.format(job))
    if state ~= 'R' then
      redis.call('HDEL', from.aside, id)
      redis.call('ZREM', state == 'D' and from.delayed or from.suspects, id)
    end
    moved = moved + 1
  end
end
if moved > 0 then
  redis.call('SADD', Q.QUEUES, ARGV[2])
  Q.ring(to, moved)
end
Q.tidy(from)
return moved
