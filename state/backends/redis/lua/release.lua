-- KEYS ledger, ledgers, load, released; ARGV name, then requests
local now = now_ms()
for i = 2, #ARGV do
  if entry_of(KEYS[1], ARGV[i]) then
    strike(KEYS[1], KEYS[3], ARGV[i])
  else
    redis.call('ZADD', KEYS[4], text(now), ARGV[i])
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', text(now - RELEASED_MS))
redis.call('PEXPIRE', KEYS[4], RELEASED_MS)
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SREM', KEYS[2], ARGV[1])
end
