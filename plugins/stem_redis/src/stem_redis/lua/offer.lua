-- uses: clock queue
-- frees
-- Say that somebody waits for work of these queues and has nothing. KEYS: for each queue its own. ARGV: the offer, for
-- how many milliseconds it holds, the number of queues.
local now = clock()
for number = 1, tonumber(ARGV[3]) do
  Q.offer(Q.open(2 + (number - 1) * Q.PER_QUEUE, ''), ARGV[1], now, ARGV[2])
end
