"""What runs inside Redis: one script answers every question of a batch at one moment, three serve the records."""

from typing import Final

ASK: Final = b"""
local call, window, answer = redis.call, tonumber(ARGV[1]), {}
local no_token, nobody = ARGV[2], ARGV[3]
for i = 1, #KEYS, 2 do
    local token, counter = KEYS[i], KEYS[i + 1]
    local hits, left = 0, 0
    if token ~= no_token and call('EXISTS', token) == 1 then
        hits = -1
    elseif counter ~= nobody then
        left = call('PTTL', counter)
        if left > 0 then
            hits = call('INCR', counter)
        else
            hits, left = 1, window
            call('SET', counter, 1, 'PX', window)
        end
    end
    answer[i], answer[i + 1] = hits, left
end
return answer
"""
"""KEYS holds pairs: the key that is there when the token is revoked, and the counter of the client. ARGV[1] is the
window in milliseconds; ARGV[2] and ARGV[3] stand among the keys for no token and for nobody: the prefixes alone, since
an empty key would be forbidden to a user who may use these prefixes only. The answer is flat, two integers a pair: the
hits of the counter (-1 when the token is revoked, and nothing was counted) and the milliseconds its window has left."""

READ: Final = b"""
local values, answer = redis.call('MGET', unpack(KEYS)), {}
for i, key in ipairs(KEYS) do
    answer[2 * i - 1], answer[2 * i] = values[i], redis.call('PTTL', key)
end
return answer
"""
"""The value of each key (nil when it is no string) and the milliseconds it has left: -1 when it stays, -2 when there
is no such key."""

ADD: Final = b"""
local fresh = redis.call('EXISTS', KEYS[1]) == 0
local total = redis.call('INCRBY', KEYS[1], ARGV[1])
if fresh then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return total
"""
"""Adds ARGV[1] to a counter that, when it is new, ends after ARGV[2] milliseconds."""

EXTEND: Final = b"""
local left, new = redis.call('PTTL', KEYS[1]), ARGV[2]
if not new then
    redis.call('SET', KEYS[1], ARGV[1])
elseif left == -1 or left > tonumber(new) then
    return 0
else
    redis.call('SET', KEYS[1], ARGV[1], 'PX', new)
end
return 1
"""
"""Writes ARGV[1] for ARGV[2] milliseconds, or to stay without them, unless what is there ends later; whether it did."""
