-- KEYS owner, snapshot, snapshot orders; ARGV lease, shard, fence, version, life ms, blob, bus
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local fence, version = tonumber(ARGV[3]), tonumber(ARGV[4])
local last = redis.call('HGET', KEYS[3], ARGV[2])
if last then
  local last_fence, last_version = string.match(last, '^(%d+):(%d+)$')
  last_fence, last_version = tonumber(last_fence) or 0, tonumber(last_version) or 0
  if fence < last_fence or (fence == last_fence and version <= last_version) then
    return 0
  end
end
redis.call('SET', KEYS[2], ARGV[6], 'PX', ARGV[5])
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3] .. ':' .. ARGV[4])
redis.call('SPUBLISH', ARGV[7], ARGV[6])
return 1
