-- KEYS epoch, incarnations, live, gauge, gauge orders; ARGV replica, floor, lease ms, fresh epoch
redis.call('SET', KEYS[1], ARGV[4], 'NX')
local floor = math.max(tonumber(ARGV[2]), token_of(KEYS[2], ''))
local incarnation = next_token(KEYS[2], ARGV[1], floor)
redis.call('DEL', KEYS[4])
redis.call('HDEL', KEYS[5], ARGV[1])
redis.call('ZADD', KEYS[3], text(now_ms() + ARGV[3]), ARGV[1])
return {incarnation, redis.call('GET', KEYS[1])}
