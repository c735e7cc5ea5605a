-- Let those leases that are there, expired or not, last until some time from now, by the server's clock.
-- KEYS[1] leases: sorted set of leases by expiry in milliseconds
-- ARGV[1] milliseconds from now
-- ARGV[2..n] leases, at most 1000
-- Returns the places, counted from 1, of those that are not there.
local time = redis.call('TIME')
local expiry = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
local held = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, 2))
local scored, lost = {}, {}
for place, score in ipairs(held) do
  if score then
    scored[#scored + 1] = expiry
    scored[#scored + 1] = ARGV[place + 1]
  else
    lost[#lost + 1] = place
  end
end
if #scored > 0 then
  redis.call('ZADD', KEYS[1], unpack(scored))
end
return lost
