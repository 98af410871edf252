-- The health of a TerminationPolicy, from its conditions.
local health = { status = "Progressing", message = "the operator has not looked at it yet" }
if obj.metadata.deletionTimestamp ~= nil then
  health.message = "being deleted"
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
if conditions.Ready == nil then
  return health
end
health.message = conditions.Ready.message
if holds("Stalled") then
  health.status = "Degraded"
elseif holds("Ready") then
  health.status = "Healthy"
end
-- What a person should look at, though every source polls.
local doubts = {
  "Forbidden",
  "HeartbeatShortened",
  "NodesNotKnown",
  "ObserveConsumesMessages",
  "OverlapsKarpenter",
  "OverlapsManagedNodes",
  "SpotNodesUncovered",
}
local notifications = conditions.NotificationsValid
if notifications ~= nil and notifications.status == "False" then
  health.message = health.message .. "; NotificationsValid: " .. notifications.message
end
for _, kind in ipairs(doubts) do
  if holds(kind) then
    health.message = health.message .. "; " .. kind .. ": " .. conditions[kind].message
  end
end
return health
