-- Append reports, and drop the oldest past the bound.
-- KEYS[1] reports: list, oldest first
-- ARGV[1] bound: keep at most so many
-- ARGV[2..n] JSON documents, at most 1000
-- Returns how many there are now.
redis.call('RPUSH', KEYS[1], unpack(ARGV, 2))
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[1]), -1)
return redis.call('LLEN', KEYS[1])
