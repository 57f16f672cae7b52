-- KEYS incarnations, live, gauge, gauge orders; ARGV replica, incarnation, seq, lease ms, blob, bus
if not is_member(KEYS[1], KEYS[2], ARGV[1], ARGV[2]) then
  return 0
end
local last = tonumber(redis.call('HGET', KEYS[4], ARGV[1]))
if last and last >= tonumber(ARGV[3]) then
  return 1
end
redis.call('SET', KEYS[3], ARGV[5], 'PX', ARGV[4])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], text(now_ms() + ARGV[4]), ARGV[1])
redis.call('SPUBLISH', ARGV[6], ARGV[5])
return 1
