-- KEYS owner, fences; ARGV shard, owner, lease ms
if redis.call('EXISTS', KEYS[1]) == 1 then
  return false
end
local fence = next_token(KEYS[2], ARGV[1], 0)
redis.call('SET', KEYS[1], text(fence) .. ':' .. ARGV[2], 'PX', ARGV[3])
return fence
