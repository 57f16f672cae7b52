-- KEYS live, snapshot orders; ARGV bus
local now = now_ms()
reap(KEYS[1], ARGV[1], now)
return {redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(now), '+inf'), redis.call('HKEYS', KEYS[2])}
