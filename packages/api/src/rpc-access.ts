import type { Permission } from "@tributary/auth";

/**
 * Who may call: whoever is known (`member`: what it shows or changes is the caller's own, or nobody's), or whoever has
 * the permission in the organisation of the proof. A call that is missing here is refused to everybody.
 */
export const RPC_ACCESS: Readonly<Record<string, "member" | Permission>> = {
  // Payloads are whole: they say what every person of the organisation shares.
  "tributary.api.v1.EventService/Subscribe": "integrations.manage",
  "tributary.api.v1.EventService/Ack": "integrations.manage",
  // Payloads are redacted; whoever asks for more needs more.
  "tributary.api.v1.EventService/Get": "integrations.view",
  "tributary.api.v1.EventService/List": "integrations.view",
  "tributary.api.v1.EventService/Catalogue": "member",
  "tributary.api.v1.EventService/Replay": "integrations.manage",
  "tributary.api.v1.EventService/GetReplay": "integrations.view",
  "tributary.api.v1.EventService/WatchReplay": "integrations.view",
  "tributary.api.v1.EventService/ListReplays": "integrations.view",
  "tributary.api.v1.EventService/CancelReplay": "integrations.manage",

  "tributary.api.v1.DeadLetterService/ListDeadLetters": "integrations.view",
  "tributary.api.v1.DeadLetterService/GetDeadLetter": "integrations.view",
  "tributary.api.v1.DeadLetterService/RedriveDeadLetters": "integrations.manage",
  "tributary.api.v1.DeadLetterService/DropDeadLetters": "integrations.manage",

  "tributary.api.v1.ConsumerService/ListConsumers": "integrations.view",
  "tributary.api.v1.ConsumerService/GetConsumer": "integrations.view",
  "tributary.api.v1.ConsumerService/CreateConsumer": "integrations.manage",
  "tributary.api.v1.ConsumerService/UpdateConsumer": "integrations.manage",
  "tributary.api.v1.ConsumerService/RemoveConsumer": "integrations.manage",

  "tributary.api.v1.ConnectionService/ListConnections": "member",
  "tributary.api.v1.ConnectionService/BeginConnection": "member",
  "tributary.api.v1.ConnectionService/SyncConnection": "member",
  "tributary.api.v1.ConnectionService/Act": "member",
  "tributary.api.v1.ConnectionService/PauseConnection": "member",
  "tributary.api.v1.ConnectionService/ResumeConnection": "member",
  "tributary.api.v1.ConnectionService/DisconnectConnection": "member",
};
