-- Leave one wake for the next who waits; a second one changes nothing.
-- KEYS[1] wake: list of at most one element
-- Returns 1 when the wake is new, 0 when one stood already.
if redis.call('LLEN', KEYS[1]) > 0 then
  return 0
end
redis.call('RPUSH', KEYS[1], '1')
return 1
