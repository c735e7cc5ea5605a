-- Take all shards of some jobs off a pool's queue, and forget their ranks.
-- KEYS[1] offers: sorted set of shards by rank * span + number
-- KEYS[2] ranks: hash from job to rank
-- ARGV[1] span: shard numbers of one job
-- ARGV[2..n] jobs, at most 1000
-- Returns how many shards were there.
local span, withdrawn = tonumber(ARGV[1]), 0
for i = 2, #ARGV do
  local rank = redis.call('HGET', KEYS[2], ARGV[i])
  if rank then
    redis.call('HDEL', KEYS[2], ARGV[i])
    local first = tonumber(rank) * span
    withdrawn = withdrawn + redis.call('ZREMRANGEBYSCORE', KEYS[1], first, first + span - 1)
  end
end
return withdrawn
