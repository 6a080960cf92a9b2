export type { Inbox } from "./inbox.ts";
export { Drop, drop, Retry, retry } from "./outcome.ts";
export {
  INBOX_TABLE,
  type PostgresInbox,
  postgresInbox,
  type PostgresInboxOptions,
  type PostgresTx,
} from "./postgres-inbox.ts";
export { SubscriberError, type SubscriberLog } from "./source.ts";
export {
  type EventContext,
  type Handler,
  subscribe,
  type SubscribeOptions,
  type Subscriber,
  type Subscription,
  type SubscriptionStats,
} from "./subscribe.ts";
