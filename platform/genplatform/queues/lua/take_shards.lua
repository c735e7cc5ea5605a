-- Take the first shards of a pool's queue: nobody else gets them.
-- KEYS[1] offers: sorted set of shards by rank * span + number
-- KEYS[2] ranks: hash from job to rank
-- ARGV[1] limit: at most so many
-- ARGV[2] kept: forget the ranks when the queue is empty and there are more than so many
-- Returns the shards, in order.
local popped = redis.call('ZPOPMIN', KEYS[1], ARGV[1])
local shards = {}
for i = 1, #popped, 2 do
  shards[#shards + 1] = popped[i]
end
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('HLEN', KEYS[2]) > tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[2])
end
return shards
