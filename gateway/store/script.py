"""The script that answers every question of a batch inside Redis, at one moment."""

from typing import Final

ASK: Final = b"""
local call, window, answer = redis.call, tonumber(ARGV[1]), {}
for i = 1, #KEYS, 2 do
    local token, counter = KEYS[i], KEYS[i + 1]
    local hits, left = 0, 0
    if token ~= '' and call('EXISTS', token) == 1 then
        hits = -1
    elseif counter ~= '' then
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
"""KEYS holds pairs: the key that is there when the token is revoked, and the counter of the client; ``""`` asks about
none. ARGV[1] is the window in milliseconds. The answer is flat, two integers a pair: the hits of the counter (-1 when
the token is revoked, and nothing was counted) and the milliseconds its window has left."""
