import { jetstreamManager } from "@nats-io/jetstream";
import { connect, headers } from "@nats-io/transport-node";
import { EVENT_STREAM, EVENT_SUBJECTS, eventHeaders } from "@tributary/contracts";
import { randomUUID } from "node:crypto";

/** What a ceiling publishes. */
export interface BareEvent {
  readonly id: string;
  readonly type: string;
  readonly subject: string;
  readonly objectKey: string;
  readonly timeMs: number;
  readonly sequence: bigint;
  readonly payload: Uint8Array;
}

/** Publishing without our logic: the same headers and message ids through an ack tracker on one inbox, and no fence. */
export interface BarePublisher {
  /** An event stream without a message in it. */
  reset(): Promise<void>;
  /** One window at a time. @throws Error when the broker refuses one of them. */
  publish(
    of: { readonly organizationId: string; readonly connectionId: string; readonly connector: string },
    events: readonly BareEvent[],
  ): Promise<void>;
  close(): Promise<void>;
}

export async function openBarePublisher(url: string): Promise<BarePublisher> {
  const nc = await connect({ servers: url });
  const inbox = `_INBOX.${randomUUID().replaceAll("-", "")}`;
  let open = 0;
  let done = (): void => {};
  let failed: (error: Error) => void = () => {};
  nc.subscribe(inbox, {
    callback: (_error, message) => {
      if (message.json<{ seq?: number }>().seq === undefined) failed(new Error("the broker refused an event"));
      else if (--open === 0) done();
    },
  });
  return {
    reset: async () => {
      const jsm = await jetstreamManager(nc);
      const config = await jsm.streams.info(EVENT_STREAM).then(
        (info) => info.config,
        () => undefined,
      );
      if (config !== undefined) await jsm.streams.delete(EVENT_STREAM);
      await jsm.streams.add(config ?? { name: EVENT_STREAM, subjects: [...EVENT_SUBJECTS] });
    },
    publish: (of, events) => {
      if (events.length === 0) return Promise.resolve();
      open = events.length;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      [done, failed] = [resolve, reject];
      for (const event of events) {
        const head = headers();
        const attributes = {
          ...of,
          ...event,
          backfill: false,
          traceparent: "",
          time: new Date(event.timeMs).toISOString(),
        };
        for (const [name, value] of eventHeaders(attributes)) head.set(name, value);
        head.set("Nats-Msg-Id", event.id);
        nc.publish(event.subject, event.payload, { headers: head, reply: inbox });
      }
      return promise;
    },
    close: () => nc.close(),
  };
}
