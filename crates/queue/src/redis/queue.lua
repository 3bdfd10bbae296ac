#!lua name=@LIB@
-- The index of open tasks of one bucket of devices. One call is one of these functions, atomic and
-- one round trip; what each does is written at the trait Queue (contract.rs). The keys of a bucket
-- have one hash tag, and every call names them all:
--   1 m  hash: b when it was rebuilt, and so is whole; f floor (no epoch of a device that is not in d is above it),
--        n in flight, p parked; r the server's run id when it was rebuilt;
--        o, u, w who rebuilds it, until when, and the server's run id when that began; c what probe writes
--   2 d  hash: device -> record, for devices that have open tasks or a live session
--   3 a  sorted set: task .. device by alarm, in microseconds
--   4 g  sorted set: tasks by id, which is by age
--   5 s  sorted set: devices in d without open tasks, by the end of their session
--   6 x  set: tasks that ended during a rebuild
-- A record is {epoch, session, expires, flag, tasks}, a task {id, priority, deadline, phase, v, lease,
-- alarm}, in the order in which tasks are given out. v is by phase: not before, epoch, until.
-- Ids are 26 characters. Numbers stay below 2^53.

local E, S, X, F, T = 1, 2, 3, 4, 5
local CLOSED, BOUND = 1, 2
local ID, PRIORITY, DEADLINE, PHASE, V, LEASE, ALARM = 1, 2, 3, 4, 5, 6, 7
local PENDING, IN_FLIGHT, PARKED = 0, 1, 2
local REBUILDING = -1
-- How far clocks of Hearth's processes may be apart when epochs begin anew, in microseconds. What f says
-- of a bucket that was lost is not enough: a session of before the loss may have raised it to its own.
local SKEW = 1000000

-- redis.call is there only when a function runs.
local function call(...)
  return redis.call(...)
end

local function number(text)
  return tonumber(text) or 0
end

local function run_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end

-- Whether the bucket is whole; its floor. What is left of one that was lost in part goes.
local function touch(k)
  local m = call('HMGET', k[1], 'b', 'f')
  if not m[1] and not m[2] then
    call('DEL', k[2], k[3], k[4], k[5], k[6])
    call('HSET', k[1], 'f', 0)
  end
  return m[1], number(m[2])
end

local function load(k, device)
  local text = call('HGET', k[2], device)
  return text and cmsgpack.unpack(text)
end

local function raise_floor(k, epoch)
  if epoch > number(call('HGET', k[1], 'f')) then
    call('HSET', k[1], 'f', epoch)
  end
end

local function drop(k, device, record)
  raise_floor(k, record[E])
  call('HDEL', k[2], device)
  call('ZREM', k[5], device)
end

-- Keeps a record; without open tasks, as long as its session lives.
local function save(k, device, record)
  if #record[T] > 0 then
    call('HSET', k[2], device, cmsgpack.pack(record))
  elseif record[X] > 0 then
    call('HSET', k[2], device, cmsgpack.pack(record))
    call('ZADD', k[5], record[X], device)
  else
    drop(k, device, record)
  end
end

local function find(record, id)
  for index, task in ipairs(record[T]) do
    if task[ID] == id then
      return task, index
    end
  end
end

local function lookup(k, device, id)
  local record = load(k, device)
  if record then
    local task, index = find(record, id)
    return record, task, index
  end
end

local function set_alarm(k, device, task, alarm)
  if alarm == task[ALARM] then
    return
  end
  if alarm > 0 then
    call('ZADD', k[3], alarm, task[ID] .. device)
  else
    call('ZREM', k[3], task[ID] .. device)
  end
  task[ALARM] = alarm
end

local function next_alarm(task)
  if task[PHASE] == IN_FLIGHT then
    return task[LEASE]
  elseif task[PHASE] == PARKED then
    return task[V]
  elseif task[V] > 0 and task[DEADLINE] > 0 then
    return math.min(task[V], task[DEADLINE])
  end
  return math.max(task[V], task[DEADLINE])
end

-- The same with a reminder at this time, if it is one.
local function alarm_with(task, reminder)
  local own = next_alarm(task)
  if reminder > 0 and (own == 0 or reminder < own) then
    return reminder
  end
  return own
end

local function count(k, phase, by)
  if phase == IN_FLIGHT then
    call('HINCRBY', k[1], 'n', by)
  elseif phase == PARKED then
    call('HINCRBY', k[1], 'p', by)
  end
end

local function set_phase(k, device, task, phase, v, lease)
  if task[PHASE] ~= phase then
    count(k, task[PHASE], -1)
    count(k, phase, 1)
  end
  task[PHASE], task[V], task[LEASE] = phase, v, lease
  set_alarm(k, device, task, next_alarm(task))
end

-- Whether an epoch may act; a newer one than is known is taken as the newest.
local function take_epoch(record, epoch)
  if epoch > record[E] then
    record[E], record[S], record[F] = epoch, '', 0
  end
  return epoch == record[E]
end

-- Whether an epoch can only be that of a session that had nothing to do.
local function was_idle(record, epoch)
  return record[F] == BOUND and epoch <= record[E]
end

local function is_ready(task, now)
  return task[PHASE] == PENDING and task[V] <= now
end

local function open(k, a)
  local device, session, ttl, now = a[1], a[2], number(a[3]), number(a[4])
  local whole, floor = touch(k)
  if not whole then
    floor = math.max(floor, now + SKEW)
  end
  local record = load(k, device)
  local same = record and session ~= '' and record[S] == session
  if whole and not (record and #record[T] > 0) then
    local epoch = math.max(math.max(floor, record and record[E] or 0) + 1, now)
    if same and record[F] == 0 then
      epoch = record[E]
    end
    if record then
      drop(k, device, record)
    end
    call('HSET', k[1], 'f', math.max(epoch, floor))
    return { epoch, 0, 0, 0 }
  end
  record = record or { 0, '', 0, 0, {} }
  if record[E] == 0 or not same then
    record[E], record[S], record[F] = math.max(math.max(record[E], floor) + 1, now), session, 0
  end
  record[X] = now + ttl
  local ready, orphans = not whole, {}
  for _, task in ipairs(record[T]) do
    if task[PHASE] == IN_FLIGHT and task[V] < record[E] then
      table.insert(orphans, task)
    else
      ready = ready or is_ready(task, now)
    end
  end
  table.sort(orphans, function(one, other)
    return one[V] < other[V] or (one[V] == other[V] and one[ID] < other[ID])
  end)
  save(k, device, record)
  local answer = { record[E], (ready or #orphans > 0) and 1 or 0, #record[T], whole and 0 or 1 }
  for _, task in ipairs(orphans) do
    table.insert(answer, task[ID])
  end
  return answer
end

local function choose(record, exclude, now)
  local orphan, ready
  for _, task in ipairs(record[T]) do
    if task[PHASE] == IN_FLIGHT then
      if task[ID] ~= exclude then
        if task[V] == record[E] then
          return task
        elseif not orphan or task[V] < orphan[V] then
          orphan = task
        end
      end
    elseif not ready and is_ready(task, now) then
      ready = task
    end
  end
  return orphan or ready
end

local function claim(k, a)
  local device, epoch, lease, exclude, now = a[1], number(a[2]), number(a[3]), a[4], number(a[5])
  if call('HEXISTS', k[1], 'b') == 0 then
    return { REBUILDING }
  end
  local record = load(k, device)
  if not record or was_idle(record, epoch) then
    return { 0 }
  elseif not take_epoch(record, epoch) then
    return { 2 }
  end
  local task = record[F] ~= CLOSED and choose(record, exclude, now)
  if not task then
    record[X] = 0
    save(k, device, record)
    return { 0 }
  end
  local resumed, orphan = 0, 0
  if task[PHASE] == IN_FLIGHT then
    if task[V] == epoch then
      resumed = 1
    else
      orphan = task[V]
    end
  end
  record[X] = now + lease
  set_phase(k, device, task, IN_FLIGHT, epoch, now + lease)
  save(k, device, record)
  return { 1, task[ID], resumed, orphan }
end

local function renew(k, a)
  local device, epoch, id, until_ = a[1], number(a[2]), a[3], number(a[4])
  local record = load(k, device)
  if not record or was_idle(record, epoch) then
    return 1
  elseif not take_epoch(record, epoch) then
    return 0
  end
  record[X] = until_
  local task = find(record, id)
  if task and task[PHASE] == IN_FLIGHT and task[V] == epoch then
    set_phase(k, device, task, IN_FLIGHT, epoch, until_)
  end
  save(k, device, record)
  return 1
end

local function close(k, a)
  local device, epoch = a[1], number(a[2])
  local record = load(k, device)
  if record and not was_idle(record, epoch) and take_epoch(record, epoch) then
    record[X], record[F] = 0, CLOSED
    save(k, device, record)
  end
  return 1
end

local function enter(k, device, record, id, priority, deadline, phase, v, lease)
  local before = record[E]
  if phase == IN_FLIGHT then
    take_epoch(record, v)
  end
  if find(record, id) then
    if record[E] == before then
      return
    end
  else
    local at = 1
    for _, other in ipairs(record[T]) do
      if other[PRIORITY] < priority or (other[PRIORITY] == priority and other[ID] > id) then
        break
      end
      at = at + 1
    end
    local task = { id, priority, deadline, phase, v, lease, 0 }
    if #record[T] == 0 then
      call('ZREM', k[5], device)
    end
    table.insert(record[T], at, task)
    set_alarm(k, device, task, next_alarm(task))
    call('ZADD', k[4], 0, id)
    count(k, phase, 1)
  end
  save(k, device, record)
end

local function enqueue(k, a)
  local whole, floor = touch(k)
  local record = load(k, a[1]) or { whole and floor or 0, '', 0, whole and BOUND or 0, {} }
  enter(k, a[1], record, a[2], number(a[3]), number(a[4]), number(a[5]), number(a[6]), number(a[7]))
  return 1
end

-- What the device was to be told of by a task that is gone, another one that waits says.
local function pass_on(k, device, record, gone)
  local at = gone[ALARM]
  if gone[PHASE] ~= PENDING or at == 0 or at == next_alarm(gone) then
    return
  end
  for _, task in ipairs(record[T]) do
    if task[PHASE] == PENDING and task[V] == 0 then
      set_alarm(k, device, task, alarm_with(task, at))
      return
    end
  end
end

local function remove(k, a)
  local device, id, force = a[1], a[2], a[3] == '1'
  local record, task, index = lookup(k, device, id)
  local gone = force or (task and task[PHASE] == PENDING)
  local m = call('HMGET', k[1], 'b', 'o')
  if gone and m[2] then
    call('SADD', k[6], id)
  end
  if not task then
    return { (m[1] or force) and 0 or REBUILDING }
  end
  if gone then
    table.remove(record[T], index)
    pass_on(k, device, record, task)
    set_alarm(k, device, task, 0)
    call('ZREM', k[4], id)
    count(k, task[PHASE], -1)
    save(k, device, record)
  end
  return { 1, task[PHASE], task[V], task[LEASE] }
end

local function give_back(k, a)
  local device, id, epoch, phase, v = a[1], a[2], number(a[3]), number(a[4]), number(a[5])
  local record, task = lookup(k, device, id)
  if not task then
    return 1
  elseif task[PHASE] == IN_FLIGHT and task[V] > epoch then
    return 2
  end
  set_phase(k, device, task, phase, v, 0)
  save(k, device, record)
  return 0
end

local function unpark(k, a)
  local record, task = lookup(k, a[1], a[2])
  if not task then
    return call('HEXISTS', k[1], 'b') == 1 and 0 or REBUILDING
  elseif task[PHASE] == PARKED then
    set_phase(k, a[1], task, PENDING, 0, 0)
    save(k, a[1], record)
  end
  return 1
end

local function contains(k, a)
  local _, task = lookup(k, a[1], a[2])
  if task then
    return 1
  end
  return call('HEXISTS', k[1], 'b') == 1 and 0 or REBUILDING
end

local function peek(k, a)
  local record, now = load(k, a[1]), number(a[2])
  if call('HEXISTS', k[1], 'b') == 0 then
    return { REBUILDING }
  elseif not record then
    return { 0, 0, 0 }
  end
  local ready, oldest, newest = 0, '', ''
  for _, task in ipairs(record[T]) do
    if is_ready(task, now) or (task[PHASE] == IN_FLIGHT and task[LEASE] <= now) then
      ready = ready + 1
      oldest = (ready == 1 or task[ID] < oldest) and task[ID] or oldest
      newest = task[ID] > newest and task[ID] or newest
    end
  end
  return { #record[T], ready, record[X] > now and 1 or 0, oldest, newest }
end

local function remind(k, a)
  local device, at, now = a[1], number(a[2]), number(a[3])
  local record = load(k, device)
  local changed = false
  for _, task in ipairs(record and record[T] or {}) do
    if is_ready(task, now) then
      local alarm, before = alarm_with(task, at), task[ALARM]
      set_alarm(k, device, task, alarm)
      changed = changed or alarm ~= before
      -- The first one says it for all.
      at = 0
    end
  end
  if changed then
    save(k, device, record)
  end
  return 1
end

-- What an alarm says; sets the task's next one.
local function ring(k, device, record, task, now, again)
  if task[PHASE] == PENDING and not (task[DEADLINE] > 0 and task[DEADLINE] <= now) then
    set_phase(k, device, task, PENDING, 0, 0)
    save(k, device, record)
    return 3
  end
  set_alarm(k, device, task, now + again)
  save(k, device, record)
  return task[PHASE] == PENDING and 0 or task[PHASE] == PARKED and 1 or 2
end

local function due(k, a)
  local now, again, limit, sweep = number(a[1]), number(a[2]), number(a[3]), a[4] == '1'
  local found = {}
  for _, member in ipairs(call('ZRANGEBYSCORE', k[3], 1, now, 'LIMIT', 0, limit)) do
    local device = string.sub(member, 27)
    local record, task = lookup(k, device, string.sub(member, 1, 26))
    if task then
      table.insert(found, ring(k, device, record, task, now, again))
      table.insert(found, member)
    else
      call('ZREM', k[3], member)
    end
  end
  if sweep then
    for _, device in ipairs(call('ZRANGEBYSCORE', k[5], 0, now, 'LIMIT', 0, 1000)) do
      local record = load(k, device)
      if record and #record[T] == 0 then
        drop(k, device, record)
      else
        call('ZREM', k[5], device)
      end
    end
  end
  return found
end

local function due_count(k, a)
  return call('ZCOUNT', k[3], 1, a[1])
end

local function depth(k)
  local m = call('HMGET', k[1], 'n', 'p')
  local oldest = call('ZRANGE', k[4], 0, 0)[1]
  return { call('ZCARD', k[4]), number(m[1]), number(m[2]), call('HLEN', k[2]), oldest or '' }
end

-- 0: whole; 1: lost; 2: to be compared: long ago, or on another server than it was built on, which
-- may have an older copy.
local function state(k, a)
  local m = call('HMGET', k[1], 'b', 'r')
  if not m[1] then
    return 1
  end
  return (number(m[1]) + number(a[1]) <= number(a[2]) or m[2] ~= run_id()) and 2 or 0
end

local function holds(k, owner, now)
  local m = call('HMGET', k[1], 'o', 'u', 'w')
  return m[1] == owner and number(m[2]) > now, m[3]
end

local function begin(k, a)
  local owner, ttl, now = a[1], number(a[2]), number(a[3])
  local whole, floor = touch(k)
  local m = call('HMGET', k[1], 'o', 'u')
  if m[1] and m[1] ~= owner and number(m[2]) > now then
    return 0
  end
  call('DEL', k[6])
  call('HSET', k[1], 'o', owner, 'u', now + ttl, 'w', run_id())
  if not whole then
    call('HSET', k[1], 'f', math.max(floor, now + SKEW))
  end
  return 1
end

local function restore(k, a)
  local owner, ttl, now = a[1], number(a[2]), number(a[3])
  if not holds(k, owner, now) then
    return 0
  end
  call('HSET', k[1], 'u', now + ttl)
  for i = 4, #a, 7 do
    if call('SISMEMBER', k[6], a[i + 1]) == 0 then
      local record = load(k, a[i]) or { 0, '', 0, 0, {} }
      enter(k, a[i], record, a[i + 1], number(a[i + 2]), number(a[i + 3]), number(a[i + 4]),
        number(a[i + 5]), number(a[i + 6]))
    end
  end
  return 1
end

local function finish(k, a)
  local mine, server = holds(k, a[1], number(a[2]))
  local here = run_id()
  if not mine or server ~= here then
    return 0
  end
  call('HSET', k[1], 'b', a[2], 'r', here)
  call('HDEL', k[1], 'o', 'u', 'w')
  call('DEL', k[6])
  return 1
end

-- Whether writes are taken, asked by one that says nothing. It is refused when open is: it has that one's flag.
local function probe(k)
  call('HSET', k[1], 'c', 1)
  return 1
end

local function register(name, callback, flag)
  redis.register_function {
    function_name = '@LIB@_' .. name,
    callback = callback,
    flags = flag and { flag } or {},
  }
end

-- What takes memory is refused when there is none; what frees it, or is in flight, goes on.
register('enqueue', enqueue)
register('restore', restore)
register('begin', begin)
register('open', open, 'allow-oom')
register('claim', claim, 'allow-oom')
register('renew', renew, 'allow-oom')
register('close', close, 'allow-oom')
register('remove', remove, 'allow-oom')
register('give_back', give_back, 'allow-oom')
register('unpark', unpark, 'allow-oom')
register('remind', remind, 'allow-oom')
register('due', due, 'allow-oom')
register('finish', finish, 'allow-oom')
register('probe', probe, 'allow-oom')
register('contains', contains, 'no-writes')
register('peek', peek, 'no-writes')
register('due_count', due_count, 'no-writes')
register('depth', depth, 'no-writes')
register('state', state, 'no-writes')
