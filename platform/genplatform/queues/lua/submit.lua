-- Put jobs into the intake, each at most once and in the order given, and wake the dispatcher.
-- KEYS[1] intake: sorted set of jobs by sequence
-- KEYS[2] seq: the counter that sequences come from
-- KEYS[3] wake: list of at most one element
-- ARGV[1..n] jobs, at most 1000
-- Returns how many are new.
local last = redis.call('INCRBY', KEYS[2], #ARGV)
local scored = {}
for i, job in ipairs(ARGV) do
  scored[2 * i - 1] = last - #ARGV + i
  scored[2 * i] = job
end
local added = redis.call('ZADD', KEYS[1], 'NX', unpack(scored))
if redis.call('LLEN', KEYS[3]) == 0 then
  redis.call('RPUSH', KEYS[3], '1')
end
return added
