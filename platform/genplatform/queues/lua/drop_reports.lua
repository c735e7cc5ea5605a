-- Drop reports that were read, those of them that are still there.
-- KEYS[1] reports: list, oldest first
-- KEYS[2] oldest: the number of the oldest report
-- ARGV[1] first: the number of the oldest when they were read
-- ARGV[2] end: the number behind the last that was read
-- Returns how many were dropped.
local oldest = tonumber(redis.call('GET', KEYS[2]) or -1)
-- A number never falls but by a wipe: then what is there now is not what was read.
if oldest < tonumber(ARGV[1]) then
  return 0
end
local count = math.min(tonumber(ARGV[2]) - oldest, redis.call('LLEN', KEYS[1]))
if count <= 0 then
  return 0
end
redis.call('LTRIM', KEYS[1], count, -1)
redis.call('INCRBY', KEYS[2], count)
return count
