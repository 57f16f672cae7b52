-- KEYS incarnations, live, gauge, gauge orders; ARGV replica, incarnation, blob, bus
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
forget(KEYS[2], KEYS[1], KEYS[4], ARGV[1])
redis.call('DEL', KEYS[3])
redis.call('SPUBLISH', ARGV[4], ARGV[3])
return 1
