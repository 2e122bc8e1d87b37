-- uses: clock queue outcome
-- frees
-- Put dead letters of one queue back. KEYS after the queue's: the outcome of each. ARGV: the queue, age of dead
-- letters in milliseconds, the ids. Replies: the ids that were put back.
local now = clock()
local queue = Q.open(2, ARGV[1])
local dead_age = tonumber(ARGV[2])
Q.promote(queue, now)
local replayed = {}
for n = 3, #ARGV do
  local id = ARGV[n]
  local record = redis.call('HGET', Q.JOBS, id)
  local job = record and Q.parse(record)
  local body = job and job.queue == ARGV[1] and job.state == 'X' and tonumber(job.ready) > now - dead_age
    and redis.call('HGET', queue.aside, id)
  if body then
    job.attempt, job.crashes, job.first, job.why, job.token = '1', '0', '', '', ''
    Q.enter(queue, id, job, body, now)
    redis.call('HSET', Q.JOBS, id, Q.format(job))
    local key = KEYS[3 + Q.PER_QUEUE + n - 3]
    local old = redis.call('GET', key)
    if old then
      local outcome = O.parse(old)
      outcome.forgotten, outcome.marked, outcome.token = outcome.marked, 0, ''
      O.write(key, outcome, now)
    end
    redis.call('ZREM', queue.dead, id)
    redis.call('HDEL', queue.aside, id)
    replayed[#replayed + 1] = id
  end
end
if #replayed > 0 then
  redis.call('SADD', Q.QUEUES, ARGV[1])
  Q.ring(queue, #replayed)
end
return replayed
