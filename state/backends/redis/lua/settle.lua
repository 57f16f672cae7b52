-- KEYS ledger, load; ARGV requests
for _, request in ipairs(ARGV) do
  local uid, tokens = entry_of(KEYS[1], request)
  if uid then
    redis.call('HSET', KEYS[1], request, uid .. ':0')
    add(KEYS[2], uid, 0, text(0 - tokens))
  end
end
