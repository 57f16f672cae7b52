-- KEYS incarnations, live, ledger, ledgers, load, released;
-- ARGV replica, incarnation, name, request, tokens, then per candidate: uid, cost, known tokens,
-- seconds per token, cap (-1: none)
if not is_member(KEYS[1], KEYS[2], ARGV[1], ARGV[2]) then
  return 'fenced'
end
local there = entry_of(KEYS[3], ARGV[4])
if there then
  return there
end
if redis.call('ZSCORE', KEYS[6], ARGV[4]) then
  return 'released'
end
local best, least
for i = 6, #ARGV, 5 do
  local uid, cap = ARGV[i], tonumber(ARGV[i + 4])
  local load = redis.call('HMGET', KEYS[5], uid .. ':r', uid .. ':t')
  if cap < 0 or (tonumber(load[1]) or 0) < cap then
    local beyond = math.max((tonumber(load[2]) or 0) - tonumber(ARGV[i + 2]), 0)
    local cost = tonumber(ARGV[i + 1]) + beyond * tonumber(ARGV[i + 3])
    if not best or cost < least then
      best, least = uid, cost
    end
  end
end
if not best then
  return 'full'
end
enter(KEYS[3], KEYS[4], KEYS[5], ARGV[3], ARGV[4], best, ARGV[5])
return best
