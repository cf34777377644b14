"""What Redis does for one message of the store: a script, so that nothing comes between a look and a count.

It counts as rules.py does; the tests hold the two together. Its clock is that of the server: one for all machines.
A job returns what came of it, and whether that is a no. Each value ends with when it means nothing any more; the expiry
that Redis knows of comes a second after.
"""

from collections.abc import Sequence
from typing import Any

from .jobs import ALIVE, Chain, Get, Hold, Job, Once, Put, Take
from .rules import Ask, Pace, Verdict

TAKE, ONCE, GET, PUT, HOLD, CHAIN = b"t", b"o", b"g", b"p", b"h", b"c"

SCRIPT = b"""
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local key_at, at = 0, 1

local function next_key() key_at = key_at + 1; return KEYS[key_at] end
local function word() at = at + 1; return ARGV[at] end
local function number() return tonumber(word()) end

local function find(key)
  local kept = redis.call('GET', key)
  if not kept then return nil end
  local ends, value = string.match(kept, '^(%d+):(.*)$')
  if not ends or tonumber(ends) <= now then return nil end
  return value, tonumber(ends)
end

local function keep(key, value, ends)
  local millis = math.ceil((ends - now) / 1000) + 1000
  redis.call('SET', key, string.format('%.0f:', ends) .. value, 'PX', string.format('%.0f', millis))
end

local function pace(key, interval, burst)
  local span = interval * burst
  local due = find(key)
  due = due and tonumber(due) or 0
  local used = math.max(0, math.min(due - now, span))
  local left = span - used - interval
  if left < 0 then
    local told = {0, -left, used}
    local put_back = due ~= now + used and now + used
    return told, told, put_back
  end
  local counted = used + interval
  return {math.floor(left / interval), 0, counted}, {math.floor((span - used) / interval), 0, used}, now + counted
end

local function tally(key, limit, lasts)
  local count = tonumber((find(key) or '0'))
  if count >= limit then
    local told = {0, math.max(1, lasts), lasts}
    return told, told, nil
  end
  return {limit - count - 1, 0, lasts}, {limit - count, 0, lasts}, count + 1, now + lasts
end

local function take()
  local asks, allowed = {}, 1
  for n = 1, number() do
    local key = next_key()
    local ask = {key = key}
    local kind, one, other = string.match(word(), '(%a)(%d+),(%d+)')
    if kind == 'p' then
      ask.counted, ask.found, ask.value = pace(key, tonumber(one), tonumber(other))
      ask.ends = ask.value
    else
      ask.counted, ask.found, ask.value, ask.ends = tally(key, tonumber(one), tonumber(other))
    end
    ask.refused = ask.counted[2] > 0
    if ask.refused then allowed = 0 end
    asks[n] = ask
  end
  local told = {tostring(allowed)}
  for _, ask in ipairs(asks) do
    if ask.value and (allowed == 1 or ask.refused) then
      keep(ask.key, string.format('%.0f', ask.value), ask.ends)
    end
    for _, each in ipairs(allowed == 1 and ask.counted or ask.found) do
      told[#told + 1] = string.format('%.0f', each)
    end
  end
  return table.concat(told, ' '), allowed == 0  -- one word: what clients read costs them by the word
end

local function once()
  local key, lasts = next_key(), number()
  if find(key) then return 0, true end
  keep(key, '', now + lasts)
  return 1
end

local function put()
  local key, lasts = next_key(), number()
  keep(key, word(), now + lasts)
  return 1
end

local function get() return find(next_key()) or false end

local function hold()
  local key, alive = next_key(), word()
  local holder, change, most, lasts = word(), number(), number(), number()
  local counts, others, own = {}, 0, 0
  for each, count in string.gmatch(find(key) or '', '(%w+)=(%d+)') do
    if each == holder then
      own = tonumber(count)
    elseif find(alive .. each) then
      others = others + tonumber(count)
      counts[#counts + 1] = each .. '=' .. count
    end
  end
  own = math.max(0, own + change)
  if change > 0 and others + own > most then return 0, true end
  if own > 0 then counts[#counts + 1] = holder .. '=' .. string.format('%.0f', own) end
  keep(key, table.concat(counts, ','), #counts > 0 and now + lasts or now)
  return 1
end

local jobs = {t = take, o = once, p = put, g = get, h = hold}

local function chain()
  local links, keys, words = number(), number(), number()
  local last_key, last, told = key_at + keys, at + words, {}
  for n = 1, links do
    local no
    told[n], no = jobs[word()]()
    if no then break end
  end
  key_at, at = last_key, last
  return told
end

jobs.c = chain
local told = {}
for n = 1, number() do told[n] = jobs[word()]() end
return told
"""


def arguments(jobs: Sequence[Job | Chain], *, prefix: str, now: int | None) -> list[Any]:
    """KEYS and ARGV of the script, after their number.

    Args:
        jobs: to be done.
        prefix: before each key.
        now: microseconds; None is the clock of the server.
    """
    keys: list[bytes] = []
    words: list[Any] = [b"" if now is None else now, len(jobs)]
    for job in jobs:
        if isinstance(job, Chain):
            _add_chain(job, prefix, keys, words)
        else:
            _add(job, prefix, keys, words)
    return [len(keys), *keys, *words]


def _add_chain(chain: Chain, prefix: str, keys: list[bytes], words: list[Any]) -> None:
    """Its jobs, after how many they are and how far they go: what follows a no is stepped over."""
    first, inner = len(keys), list[Any]()
    for job in chain.jobs:
        _add(job, prefix, keys, inner)
    words += (CHAIN, len(chain.jobs), len(keys) - first, len(inner), *inner)


def _add(job: Job, prefix: str, keys: list[bytes], words: list[Any]) -> None:
    match job:
        case Take(asks):
            words += (TAKE, len(asks))
            for ask in asks:
                keys.append(_encoded(prefix, ask.key))
                words.append(_rule(ask))
        case Once(key, lasts):
            keys.append(_encoded(prefix, key))
            words += (ONCE, lasts)
        case Get(key):
            keys.append(_encoded(prefix, key))
            words.append(GET)
        case Put(key, value, lasts):
            keys.append(_encoded(prefix, key))
            words += (PUT, lasts, value)
        case Hold(key, holder, change, most, lasts):
            keys.append(_encoded(prefix, key))
            words += (HOLD, prefix + ALIVE, holder, change, most, lasts)


def _encoded(prefix: str, key: str) -> bytes:
    """A key as it is sent: whatever text it is, even half of a pair of surrogates, it must not stop the others."""
    return (prefix + key).encode("utf-8", "surrogatepass")


def _rule(ask: Ask) -> bytes:
    """One word, for each costs the client as much as the rest of an ask."""
    rule = ask.rule
    if isinstance(rule, Pace):
        return b"p%d,%d" % (rule.interval, rule.burst)
    return b"t%d,%d" % (rule.limit, ask.lasts)


def result(job: Job | Chain, told: Any) -> object:
    """What the script's answer for one job means."""
    match job:
        case Chain(jobs):
            return list(map(result, jobs, told))
        case Once() | Hold():
            return told == 1
        case Get():
            return told
        case Put():
            return None
    allowed, *numbers = map(int, told.split())
    standings = [(numbers[at], numbers[at + 1], numbers[at + 2]) for at in range(0, len(numbers), 3)]
    return Verdict(allowed == 1, standings)
