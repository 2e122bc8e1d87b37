-- uses: clock queue bundles outcome
-- frees
-- Remove messages of one queue. KEYS after the queue's: the outcome of each. ARGV: the queue, what to remove (waiting
-- or dead), window in milliseconds, 1 to mark the ids against repeated publishing, age of dead letters, the ids.
-- Replies: the ids that were removed.
local now = clock()
local queue = Q.open(2, ARGV[1])
local kind, window, marks, dead_age = ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1', tonumber(ARGV[5])
Q.promote(queue, now)
local removed = {}
for n = 6, #ARGV do
  local id = ARGV[n]
  local record = redis.call('HGET', Q.JOBS, id)
  local job = record and Q.parse(record)
  local state = job and job.queue == ARGV[1] and job.state
  local fits
  if kind == 'dead' then
    fits = state == 'X' and tonumber(job.ready) > now - dead_age
  else
    fits = state == 'R' or state == 'D' or state == 'S'
  end
  if fits then
    -- The run goes on in another life of the id, so that an older receipt or result never counts again.
    if job.run ~= '0' or marks then
      local key = KEYS[3 + Q.PER_QUEUE + n - 6]
      local old = redis.call('GET', key)
      local outcome = old and O.parse(old) or {last = 0, marked = 0, token = '', body = ''}
      outcome.last = math.max(outcome.last, tonumber(job.run))
      outcome.forgotten = now + window
      if marks then
        outcome.marked = math.max(outcome.marked, now + window)
      end
      O.write(key, outcome, now)
    end
    if state == 'R' then
      B.leave(queue, job)
    else
      redis.call('HDEL', queue.aside, id)
      redis.call('ZREM', state == 'D' and queue.delayed or state == 'S' and queue.suspects or queue.dead, id)
    end
    redis.call('HDEL', Q.JOBS, id)
    removed[#removed + 1] = id
  end
end
Q.tidy(queue)
return removed
