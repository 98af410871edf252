-- The health of a NodeTermination, from its conditions.
local health = { status = "Progressing", message = "the operator has not looked at it yet" }
if obj.metadata.deletionTimestamp ~= nil then
  health.message = "being deleted: what was done to the node is undone first"
  return health
end
local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local function holds(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end
local ready = conditions.Ready
if ready == nil then
  return health
end
health.message = ready.message
if holds("Stalled") then
  health.status = "Degraded"
elseif holds("Ready") then
  -- These waits end by themselves, and a drain follows. The others end by a person or by the calendar.
  local soon = ready.reason == "LimitReached" or ready.reason == "NodeNotFound"
  if status.phase ~= "Waiting" then
    health.status = "Healthy"
  elseif not soon then
    health.status = "Suspended"
  end
end
return health
