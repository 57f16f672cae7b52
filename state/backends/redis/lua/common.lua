-- Prefixed to every script. Times are the store's, in milliseconds.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function text(number)
  return string.format('%.0f', number)
end

-- A token that grows for ever: the store's time keeps it growing even where the last one was lost.
local function next_token(hash, field, floor)
  local last = math.max(tonumber(redis.call('HGET', hash, field)) or 0, floor)
  local token = math.max(last + 1, now_ms())
  redis.call('HSET', hash, field, text(token))
  return token
end

-- Ends memberships whose lease is over, in chunks, and tells the others.
local function reap(live, bus, now)
  local over = redis.call('ZRANGEBYSCORE', live, '-inf', text(now), 'LIMIT', 0, 1000)
  for _, replica in ipairs(over) do
    redis.call('ZREM', live, replica)
    redis.call('PUBLISH', bus, cmsgpack.pack({1, 'd', replica}))
  end
end
