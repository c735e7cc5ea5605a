-- Offer shards to a pool: a shard offered already stays where it is, a job keeps its first rank.
-- KEYS[1] offers: sorted set of shards by rank * span + number
-- KEYS[2] ranks: hash from job to rank
-- KEYS[3] seq: the counter that ranks come from
-- KEYS[4] wake: list of at most one element
-- KEYS[5] heard: channel that tells POOL COUNT of what is new
-- ARGV[1] span: shard numbers of one job
-- ARGV[2] the pool
-- ARGV[3..n] shards as tenant/job/run/number, at most 1000
-- Returns how many are new; when any is, the dispatcher is woken and whoever listens is told.
local span = tonumber(ARGV[1])
local ranks, scored = {}, {}
for i = 3, #ARGV do
  local job, number = string.match(ARGV[i], '^([^/]+/[^/]+)/%d+/(%d+)$')
  local rank = ranks[job]
  if not rank then
    rank = redis.call('HGET', KEYS[2], job)
    if not rank then
      rank = redis.call('INCR', KEYS[3])
      redis.call('HSET', KEYS[2], job, rank)
    end
    rank = tonumber(rank)
    ranks[job] = rank
  end
  scored[#scored + 1] = rank * span + math.min(tonumber(number), span - 1)
  scored[#scored + 1] = ARGV[i]
end
local added = redis.call('ZADD', KEYS[1], 'NX', unpack(scored))
if added > 0 then
  if redis.call('LLEN', KEYS[4]) == 0 then
    redis.call('RPUSH', KEYS[4], '1')
  end
  -- The shards are offered even by a user who may publish nothing: claims then find them by asking.
  redis.pcall('PUBLISH', KEYS[5], ARGV[2] .. ' ' .. added)
end
return added
