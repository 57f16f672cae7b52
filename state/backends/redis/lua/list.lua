-- KEYS incarnations, live, gauge orders, snapshot orders; ARGV bus
local now = now_ms()
end_expired(KEYS[2], KEYS[1], KEYS[3], ARGV[1], now)
return {redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. text(now), '+inf'), redis.call('HKEYS', KEYS[4])}
