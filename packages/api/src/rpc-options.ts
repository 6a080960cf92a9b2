import type { Guard } from "@tributary/auth";
import type { Connections, Runtime } from "@tributary/integrations";
import type { Consumers, DeadLetters, EventReader, EventStream, Replays } from "@tributary/pipeline";

/** What the Connect services stand on. No service holds logic: each is a check of the request, a call and a view. */
export interface RpcOptions {
  /** Lets requests in: by a service's key, a token or a session. */
  readonly guard: Guard;
  /** Public origin: what a browser's `Origin` must equal. */
  readonly origin: string;
  readonly stream: EventStream;
  readonly reader: EventReader;
  readonly replays: Replays;
  readonly deadLetters: DeadLetters;
  readonly consumers: Consumers;
  readonly connections: Connections;
  readonly runtime: Runtime;
}
