-- KEYS incarnations, live; ARGV replica, incarnation, lease ms, bus
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return false
end
local now = now_ms()
reap(KEYS[2], ARGV[4], now)
local ends = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]))
if not ends or ends <= now then
  return false
end
redis.call('ZADD', KEYS[2], text(now + ARGV[3]), ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. text(now), '+inf')
