-- uses: clock queue
-- frees
-- Messages of one queue by their ids. ARGV: the queue, the ids. Replies: now, then for each that is there
-- id, record, time, body.
local now = clock()
local queue = Q.open(2, ARGV[1])
Q.promote(queue, now)
local found = {now}
for n = 2, #ARGV do
  local id = ARGV[n]
  local record = redis.call('HGET', Q.JOBS, id)
  local job = record and Q.parse(record)
  local body = job and job.queue == ARGV[1] and Q.body_of(queue, id, job)
  if body then
    local at = job.ready
    if job.state == 'L' or job.state == 'l' or job.state == 'H' then
      at = redis.call('ZSCORE', queue.leases, id) or at
    end
    local size = #found
    found[size + 1], found[size + 2], found[size + 3], found[size + 4] = id, record, at, body
  end
end
return found
