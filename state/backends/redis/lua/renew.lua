-- KEYS incarnations, live, gauge orders; ARGV replica, incarnation, lease ms, bus
local now = now_ms()
end_expired(KEYS[2], KEYS[1], KEYS[3], ARGV[4], now)
if not is_member(KEYS[1], KEYS[2], ARGV[1], ARGV[2]) then
  return false
end
redis.call('ZADD', KEYS[2], text(now + ARGV[3]), ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. text(now), '+inf')
