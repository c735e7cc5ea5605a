-- Append reports, and drop the oldest past the bound.
-- KEYS[1] reports: list, oldest first
-- KEYS[2] oldest: the number of the oldest report
-- ARGV[1] bound: keep at most so many
-- ARGV[2..n] JSON documents, at most 1000
-- Returns how many there are now.
local time = redis.call('TIME')
-- Numbers begin with the time: after a wipe they are other ones.
redis.call('SET', KEYS[2], time[1] .. string.format('%06d', time[2]), 'NX')
local count = redis.call('RPUSH', KEYS[1], unpack(ARGV, 2))
local over = count - tonumber(ARGV[1])
if over > 0 then
  redis.call('LTRIM', KEYS[1], over, -1)
  redis.call('INCRBY', KEYS[2], over)
end
return redis.call('LLEN', KEYS[1])
