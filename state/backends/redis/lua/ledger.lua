-- Prefixed to the scripts of reservations. An entry is 'uid:tokens'.
local RELEASED_MS = 10000

local function add(load, uid, requests, tokens)
  local open = redis.call('HINCRBY', load, uid .. ':r', requests)
  redis.call('HINCRBY', load, uid .. ':t', tokens)
  if open <= 0 then
    redis.call('HDEL', load, uid .. ':r', uid .. ':t')
  end
end

local function entry_of(ledger, request)
  local entry = redis.call('HGET', ledger, request)
  if entry then
    return string.match(entry, '^(%d+):(%d+)$')
  end
end

local function enter(ledger, ledgers, load, name, request, uid, tokens)
  redis.call('HSET', ledger, request, uid .. ':' .. tokens)
  redis.call('SADD', ledgers, name)
  add(load, uid, 1, tokens)
end

local function strike(ledger, load, request)
  local uid, tokens = entry_of(ledger, request)
  redis.call('HDEL', ledger, request)
  if uid then
    add(load, uid, -1, text(0 - tokens))
  end
end
