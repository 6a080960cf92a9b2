import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
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
  /** With what each stream was asked for. */
  readonly shown: string[];
  publish(...events: SubscribeResponse[]): void;
  /** Cuts every stream. */
  cut(): void;
  /** Knows these tokens and no other from now on; at first {@link TOKEN}. Streams of others end. */
  knows(...tokens: string[]): void;
  /** Refuses every stream with this code of ours, until it is told undefined. */
  refuses(code: string | undefined): void;
  /** Answers the next acknowledgements with this code. Default "unavailable". */
  failAcks(count: number, code?: Code): void;
  close(): Promise<void>;
}

export const TOKEN = "a-token-for-tests";

export async function startFakeHub(): Promise<FakeHub> {
  const events: SubscribeResponse[] = [];
  const settled = new Set<string>();
  const attempts = new Map<string, number>();
  const requests: SubscribeRequest[] = [];
  const acks: AckRequest[] = [];
  const shown: string[] = [];
  let tokens: readonly string[] = [TOKEN];
  let refusal: string | undefined;
  let [failing, failure] = [0, Code.Unavailable];
  let generation = 0;
  const name = (one: { connectionId: string; sequence: bigint; replayId: string; redrive: number }): string =>
    `${one.connectionId} ${one.sequence} ${one.replayId} ${one.redrive}`;

  const assertKnown = ({ requestHeader }: Pick<HandlerContext, "requestHeader">): void => {
    const [, token = ""] = requestHeader.get("authorization")?.split(" ") ?? [];
    if (!tokens.includes(token)) throw new ConnectError("no", Code.Unauthenticated);
  };

  const consumers = (router: ConnectRouter): ConnectRouter =>
    router.service(ConsumerService, {
      getConsumer: (_, context) => {
        assertKnown(context);
        throw new ConnectError("not_found", Code.NotFound);
      },
    });
  const routes = (router: ConnectRouter): ConnectRouter =>
    consumers(router).service(EventService, {
      subscribe: async function* (request, context) {
        assertKnown(context);
        if (refusal !== undefined)
          throw new ConnectError(`${refusal}: why`, Code.FailedPrecondition, { "tributary-error": refusal });
        requests.push(request);
        shown.push(context.requestHeader.get("authorization")?.slice(7) ?? "");
        const mine = generation;
        for (let index = 0; !context.signal.aborted;) {
          assertKnown(context);
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
      ack: (request, context) => {
        assertKnown(context);
        if (failing-- > 0) throw new ConnectError("away", failure);
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
    shown,
    publish: (...more) => events.push(...more),
    cut: () => generation++,
    knows: (...known) => (tokens = known),
    refuses: (code) => (refusal = code),
    failAcks: (count, code = Code.Unavailable) => void ([failing, failure] = [count, code]),
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

/** So many events of a connection that are gone, up to a sequence, as the hub would say. */
export const gone = (connectionId: string, sequence: number, count: number): SubscribeResponse =>
  create(SubscribeResponseSchema, {
    organizationId: "acme",
    connectionId,
    sequence: BigInt(sequence),
    gone: BigInt(count),
  });
