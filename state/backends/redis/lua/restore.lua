-- KEYS incarnations, live, ledger, ledgers, load, released;
-- ARGV replica, incarnation, name, then per reservation: request, uid, tokens
if not is_member(KEYS[1], KEYS[2], ARGV[1], ARGV[2]) then
  return 0
end
for i = 4, #ARGV, 3 do
  local request = ARGV[i]
  if not entry_of(KEYS[3], request) and not redis.call('ZSCORE', KEYS[6], request) then
    enter(KEYS[3], KEYS[4], KEYS[5], ARGV[3], request, ARGV[i + 1], ARGV[i + 2])
  end
end
return 1
