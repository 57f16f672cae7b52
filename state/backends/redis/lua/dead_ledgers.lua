-- KEYS incarnations, live, ledgers; returns names, 'incarnation:replica'
local dead = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  local incarnation, replica = string.match(name, '^(%d+):(.*)$')
  if not incarnation or not is_member(KEYS[1], KEYS[2], replica, incarnation) then
    table.insert(dead, name)
  end
end
return dead
