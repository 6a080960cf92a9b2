import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ConnectRouter } from "@connectrpc/connect";
import { AfterDeadLetter, type Consumer, ConsumerSchema, ConsumerService, Road, Start } from "@tributary/contracts";
import type { ConsumerView } from "@tributary/pipeline";
import { chosen, consumerName, knownConsumer, knownTypes } from "./event-service.ts";
import { identityOf, notThere } from "./rpc-context.ts";
import type { RpcOptions } from "./rpc-options.ts";

/** Who reads events, and how far they have come. */
export function consumerService(router: ConnectRouter, { consumers }: RpcOptions): void {
  router.service(ConsumerService, {
    async listConsumers(_, context) {
      const known = await consumers.list(identityOf(context).organizationId);
      return { consumers: known.map(consumerMessage) };
    },
    async getConsumer({ name, road }, context) {
      const { organizationId } = identityOf(context);
      const wanted = road === Road.UNSPECIFIED ? undefined : roadOf(road);
      const found = await consumers.get(organizationId, knownConsumer(name), wanted);
      if (found === undefined) throw notThere();
      return { consumer: consumerMessage(found.consumer), connections: [...found.behind] };
    },
    async createConsumer(request, context) {
      const { organizationId } = identityOf(context);
      const { consumer, created } = await consumers.create({
        organizationId,
        name: consumerName(request.name),
        road: roadOf(request.road),
        types: knownTypes(request.types),
        afterDeadLetter: chosen(AFTER, request.afterDeadLetter, "after_dead_letter") ?? "continue",
        start: chosen(STARTS, request.start, "start"),
      });
      return { consumer: consumerMessage(consumer), created };
    },
    async updateConsumer(request, context) {
      const { organizationId } = identityOf(context);
      const after = chosen(AFTER, request.afterDeadLetter, "after_dead_letter") ?? undefined;
      const consumer = await consumers.update(organizationId, consumerName(request.name), {
        types: knownTypes(request.types),
        ...(after === undefined ? {} : { afterDeadLetter: after }),
      });
      if (consumer === undefined) throw notThere();
      return { consumer: consumerMessage(consumer) };
    },
    async removeConsumer({ name, road }, context) {
      const { organizationId } = identityOf(context);
      if (!(await consumers.remove(organizationId, knownConsumer(name), roadOf(road)))) throw notThere();
      return {};
    },
  });
}

const roadOf = (road: Road): "http" | "nats" => chosen(ROADS, road, "road");

const ROADS: Readonly<Record<number, "http" | "nats">> = {
  [Road.UNSPECIFIED]: "http",
  [Road.HTTP]: "http",
  [Road.NATS]: "nats",
};

const STARTS: Readonly<Record<number, "oldest" | "now">> = {
  [Start.UNSPECIFIED]: "oldest",
  [Start.OLDEST]: "oldest",
  [Start.NOW]: "now",
};

/** Null: not said, so it is as it was, or as it is at first. */
const AFTER: Readonly<Record<number, "continue" | "hold" | null>> = {
  [AfterDeadLetter.UNSPECIFIED]: null,
  [AfterDeadLetter.CONTINUE]: "continue",
  [AfterDeadLetter.HOLD]: "hold",
};

const consumerMessage = (view: ConsumerView): Consumer =>
  create(ConsumerSchema, {
    name: view.name,
    road: view.road === "http" ? Road.HTTP : Road.NATS,
    types: [...view.types],
    filterSubject: view.filterSubject,
    afterDeadLetter: view.afterDeadLetter === "hold" ? AfterDeadLetter.HOLD : AfterDeadLetter.CONTINUE,
    lag: BigInt(view.lag),
    outstanding: BigInt(view.outstanding),
    deadLetters: BigInt(view.deadLetters),
    connected: view.connected,
    createdAt: timestampFromMs(view.createdAtMs),
    ...(view.oldestAtMs === undefined ? {} : { oldestAt: timestampFromMs(view.oldestAtMs) }),
    ...(view.lastSeenAtMs === undefined ? {} : { lastSeenAt: timestampFromMs(view.lastSeenAtMs) }),
  });
