-- Let leases last until some time from now, by the server's clock; those that are new are added.
-- KEYS[1] leases: sorted set of leases by expiry in milliseconds
-- ARGV[1] milliseconds from now; zero or less expires at once
-- ARGV[2..n] leases, at most 1000
-- Returns how many are new.
local time = redis.call('TIME')
local expiry = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
local scored = {}
for i = 2, #ARGV do
  scored[#scored + 1] = expiry
  scored[#scored + 1] = ARGV[i]
end
return redis.call('ZADD', KEYS[1], unpack(scored))
