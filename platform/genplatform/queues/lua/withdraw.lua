-- Take all shards of one job off a pool's queue, and forget its rank.
-- KEYS[1] offers: sorted set of shards by rank * span + number
-- KEYS[2] ranks: hash from job to rank
-- ARGV[1] span: shard numbers of one job
-- ARGV[2] job
-- Returns how many shards were there.
local rank = redis.call('HGET', KEYS[2], ARGV[2])
if not rank then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[2])
local first = tonumber(rank) * tonumber(ARGV[1])
return redis.call('ZREMRANGEBYSCORE', KEYS[1], first, first + tonumber(ARGV[1]) - 1)
