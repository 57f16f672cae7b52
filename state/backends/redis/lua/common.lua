-- Prefixed to every script. Times are the store's, in milliseconds.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function text(number)
  return string.format('%.0f', number)
end

local function token_of(hash, field)
  return tonumber(redis.call('HGET', hash, field)) or 0
end

-- A token that grows for ever: the store's time keeps it growing even where the last one was lost.
local function next_token(hash, field, floor)
  local token = math.max(token_of(hash, field) + 1, floor + 1, now_ms())
  redis.call('HSET', hash, field, text(token))
  return token
end

-- Ends a membership. Its token lives on in the field of no name, below which no later one starts;
-- a server that is out of memory still forgets.
local function forget(live, incarnations, orders, replica)
  local highest = math.max(token_of(incarnations, ''), token_of(incarnations, replica))
  redis.pcall('HSET', incarnations, '', text(highest))
  redis.call('HDEL', incarnations, replica)
  redis.call('HDEL', orders, replica)
  redis.call('ZREM', live, replica)
end

-- Ends memberships whose lease is over, in chunks, and tells the others.
local function end_expired(live, incarnations, orders, bus, now)
  local over = redis.call('ZRANGEBYSCORE', live, '-inf', text(now), 'LIMIT', 0, 1000)
  for _, replica in ipairs(over) do
    forget(live, incarnations, orders, replica)
    redis.call('SPUBLISH', bus, cmsgpack.pack({1, 'd', replica}))
  end
end

local function is_member(incarnations, live, replica, incarnation)
  local ends = tonumber(redis.call('ZSCORE', live, replica))
  return ends and ends > now_ms() and redis.call('HGET', incarnations, replica) == incarnation
end
