import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import {
  type AckRequest,
  ConsumerService,
  EventService,
  Outcome,
  type SubscribeRequest,
  type SubscribeResponse,
  SubscribeResponseSchema,
  TaskCompletedSchema,
} from "@tributary/contracts";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** A hub that has events for one consumer, loses its connections when told to, and keeps what it was told. */
export interface FakeHub {
  readonly url: string;
  readonly requests: SubscribeRequest[];
  readonly acks: AckRequest[];
  publish(...events: SubscribeResponse[]): void;
  /** Cuts every stream. */
  cut(): void;
  /** Knows no token any more, and cuts every stream. */
  refuse(): void;
  /** Answers the next acknowledgements with "unavailable". */
  failAcks(count: number): void;
  close(): Promise<void>;
}

export const TOKEN = "a-token-for-tests";

export async function startFakeHub(): Promise<FakeHub> {
  const events: SubscribeResponse[] = [];
  const settled = new Set<string>();
  const attempts = new Map<string, number>();
  const requests: SubscribeRequest[] = [];
  const acks: AckRequest[] = [];
  let token: string | undefined = TOKEN;
  let failing = 0;
  let generation = 0;
  const name = (one: { connectionId: string; sequence: bigint; replayId: string; redrive: number }): string =>
    `${one.connectionId} ${one.sequence} ${one.replayId} ${one.redrive}`;

  const consumers = (router: ConnectRouter): ConnectRouter =>
    router.service(ConsumerService, {
      getConsumer: (_, context) => {
        const known = context.requestHeader.get("authorization") === `Bearer ${token}`;
        throw known ? new ConnectError("not_found", Code.NotFound) : new ConnectError("no", Code.Unauthenticated);
      },
    });
  const routes = (router: ConnectRouter): ConnectRouter =>
    consumers(router).service(EventService, {
      subscribe: async function* (request, context) {
        if (context.requestHeader.get("authorization") !== `Bearer ${token}`)
          throw new ConnectError("no", Code.Unauthenticated);
        requests.push(request);
        const mine = generation;
        for (let index = 0; !context.signal.aborted;) {
          if (mine !== generation) throw new ConnectError("cut", Code.Unavailable);
          const event = events[index];
          if (event === undefined) await sleep(2);
          else {
            index++;
            if (settled.has(name(event))) continue;
            attempts.set(name(event), (attempts.get(name(event)) ?? 0) + 1);
            yield { ...event, attempt: attempts.get(name(event)) ?? 1 };
          }
        }
      },
      ack: (request) => {
        if (failing-- > 0) throw new ConnectError("away", Code.Unavailable);
        acks.push(request);
        settled.add(name(request));
        return {};
      },
    });
  const server: Server = createServer(connectNodeAdapter({ routes }));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    acks,
    publish: (...more) => events.push(...more),
    cut: () => generation++,
    refuse: () => {
      token = undefined;
      generation++;
    },
    failAcks: (count) => (failing = count),
    close: async () => {
      generation++;
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export { Outcome };

/** A completed task, as the hub would send it. */
export const completed = (connectionId: string, sequence: number): SubscribeResponse =>
  create(SubscribeResponseSchema, {
    id: `${connectionId}-${sequence}`,
    type: TaskCompletedSchema.typeName,
    organizationId: "acme",
    connectionId,
    connector: "todoist",
    objectKey: `task/${sequence}`,
    sequence: BigInt(sequence),
    time: timestampFromMs(1_763_683_200_000 + sequence),
    data: toBinary(
      TaskCompletedSchema,
      create(TaskCompletedSchema, { task: { id: String(sequence), title: "Water" } }),
    ),
  });
