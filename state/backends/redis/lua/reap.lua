-- KEYS incarnations, live, ledger, ledgers, load; ARGV replica, incarnation, name, most
if is_member(KEYS[1], KEYS[2], ARGV[1], ARGV[2]) then
  return 0
end
local reaped = redis.call('HRANDFIELD', KEYS[3], ARGV[4])
for _, request in ipairs(reaped) do
  strike(KEYS[3], KEYS[5], request)
end
if redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('SREM', KEYS[4], ARGV[3])
end
return #reaped
