-- List leases whose time is over by the server's clock, the longest over first; none is taken away.
-- KEYS[1] leases: sorted set of leases by expiry in milliseconds
-- ARGV[1] limit: at most so many
-- Returns the leases.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
