-- Read the oldest reports, leaving them in place.
-- KEYS[1] reports: list, oldest first
-- KEYS[2] oldest: the number of the oldest report
-- ARGV[1] limit: at most so many, 1 or more
-- Returns the number of the oldest, and the reports.
local time = redis.call('TIME')
redis.call('SET', KEYS[2], time[1] .. string.format('%06d', time[2]), 'NX')
return { redis.call('GET', KEYS[2]), redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1) }
