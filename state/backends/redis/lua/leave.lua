-- KEYS incarnations, live, gauge, gauge orders; ARGV replica, incarnation, blob, bus
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then
  return 0
end
redis.call('DEL', KEYS[3])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('PUBLISH', ARGV[4], ARGV[3])
return 1
