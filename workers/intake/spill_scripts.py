"""What the spill does in Redis in one step each, as scripts over its keys: records, notes, the era, and what is aside.

Beside notes by name the hash has, of the record of each order id, its place (`i`), counted from the first that was in
the list since it was last empty, and the mark of its cancellation (`c`); `gone` records have left since, and those
before the place `taken` were handed out to be journalled.
"""

from __future__ import annotations

from typing import Final

PLACES: Final = r"""
local function number(name) return tonumber(redis.call('HGET', KEYS[2], name) or 0) end
"""

# The era is written even where no record is: `WAIT` waits for what its own connection wrote, and for nothing else.
# ARGV: force, a new era and how long it lasts (ms), then of each record its number of notes, their names and values,
# the order's id and the record itself.
PUT: Final = (
    PLACES
    + r"""
local force, era, at, answers = ARGV[1] == '1', redis.call('GET', KEYS[3]) or ARGV[2], 4, {}
redis.call('SET', KEYS[3], era, 'PX', ARGV[3])
while at <= #ARGV do
  local count, known, found = tonumber(ARGV[at]), false, {}
  for n = 1, count do
    local value = redis.call('HGET', KEYS[2], ARGV[at + 2 * n - 1])
    known = known or value
    found[n] = value
  end
  local id, raw = ARGV[at + 2 * count + 1], ARGV[at + 2 * count + 2]
  if force or not known then
    for n = 1, count do redis.call('HSET', KEYS[2], ARGV[at + 2 * n - 1], ARGV[at + 2 * n]) end
    local length = redis.call('RPUSH', KEYS[1], raw)
    redis.call('HSET', KEYS[2], 'i\31' .. id, number('gone') + length - 1)
  end
  answers[#answers + 1] = found
  at = at + 2 * count + 3
end
return {era, answers}
"""
)

# ARGV: the order's id.
FIND: Final = (
    PLACES
    + r"""
local place = redis.call('HGET', KEYS[2], 'i\31' .. ARGV[1])
if not place then return {false, false} end
return {redis.call('LINDEX', KEYS[1], place - number('gone')), redis.call('HGET', KEYS[2], 'c\31' .. ARGV[1])}
"""
)

# ARGV: the order's id, the mark.
CANCEL: Final = (
    PLACES
    + r"""
local place = redis.call('HGET', KEYS[2], 'i\31' .. ARGV[1])
if not place then return 0 end
if tonumber(place) < number('taken') then return 1 end
redis.call('HSET', KEYS[2], 'c\31' .. ARGV[1], ARGV[2])
return 2
"""
)

# ARGV: how many records.
HEAD: Final = (
    PLACES
    + r"""
local found = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)
local more = number('gone') + #found - number('taken')
if more > 0 then redis.call('HINCRBY', KEYS[2], 'taken', more) end
return found
"""
)

# ARGV: the first and the last of the records to drop, how many there are, how many of them are kept here, aside, the
# places of these among them, then the names of notes. With the last record go all notes, also those of records that
# were set aside.
DROP: Final = (
    PLACES
    + r"""
local count = tonumber(ARGV[3])
if redis.call('LINDEX', KEYS[1], 0) ~= ARGV[1] then return 0 end
if redis.call('LINDEX', KEYS[1], count - 1) ~= ARGV[2] then return 0 end
local aside = tonumber(ARGV[4])
for n = 5, 4 + aside do redis.call('LPUSH', KEYS[4], redis.call('LINDEX', KEYS[1], ARGV[n])) end
redis.call('LTRIM', KEYS[1], count, -1)
if redis.call('LLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[2]) return 1 end
redis.call('HINCRBY', KEYS[2], 'gone', count)
for n = 5 + aside, #ARGV do redis.call('HDEL', KEYS[2], ARGV[n]) end
return 1
"""
)
