import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ConnectRouter } from "@connectrpc/connect";
import {
  type DeadLetter as DeadLetterMessage,
  DeadLetterSchema,
  DeadLetterService,
  DeadLetterState,
  Road,
} from "@tributary/contracts";
import type { DeadLetter, DeadLetterChoice } from "@tributary/pipeline";
import { payloadJson } from "./event-payload.ts";
import { knownConsumer, knownType, pageSize } from "./event-service.ts";
import { demand, identityOf, invalid, notThere, refused } from "./rpc-context.ts";
import type { RpcOptions } from "./rpc-options.ts";

const REASON_MAX = 500;

/** What consumers gave up on. */
export function deadLetterService(router: ConnectRouter, { deadLetters, consumers, runtime }: RpcOptions): void {
  router.service(DeadLetterService, {
    async listDeadLetters(request, context) {
      const { organizationId } = identityOf(context);
      const type = knownType(request.type);
      const page = await deadLetters.list({
        organizationId,
        limit: pageSize(request.pageSize),
        ...(request.consumer === "" ? {} : { consumer: knownConsumer(request.consumer) }),
        ...(type === undefined ? {} : { type }),
        ...(request.pageToken === "" ? {} : { after: request.pageToken }),
      });
      return { deadLetters: page.letters.map(letterMessage), nextPageToken: page.next ?? "" };
    },
    async getDeadLetter(request, context) {
      const { organizationId } = identityOf(context);
      if (request.personalData) demand(context, "integrations.manage");
      const letter = await deadLetters.get(organizationId, request.id);
      if (letter === undefined) throw notThere();
      if (letter.eventGone) return { deadLetter: letterMessage(letter) };
      const payload = payloadJson(letter.type, letter.payload, request.personalData);
      return {
        deadLetter: letterMessage(letter),
        ...(payload === undefined ? {} : { payload }),
        ...(request.personalData ? { data: letter.payload } : {}),
      };
    },
    async redriveDeadLetters(request, context) {
      const { organizationId } = identityOf(context);
      const { count, more } = await deadLetters.redrive(organizationId, choiceOf(request));
      if (count === 0) await mustBeThere(organizationId, request);
      return { redriven: count, more };
    },
    async dropDeadLetters(request, context) {
      const { organizationId } = identityOf(context);
      const { reason } = request;
      if (reason.trim() === "" || reason.length > REASON_MAX) throw invalid(`reason is 1 to ${REASON_MAX} characters`);
      const { count, more } = await deadLetters.drop(organizationId, choiceOf(request));
      if (count === 0 && request.id !== "") throw notThere();
      if (count === 0) await mustBeThere(organizationId, request);
      const { id, consumer, type } = request;
      runtime.log.info(
        { organization: organizationId, id, consumer, type, count, reason },
        "dead letters were dropped",
      );
      return { dropped: count, more };
    },
  });

  /** One that is under way already is no error: asking twice asks once. */
  async function mustBeThere(organizationId: string, { id, consumer }: Choice): Promise<void> {
    const there = id === "" ? await consumers.get(organizationId, consumer) : await deadLetters.get(organizationId, id);
    if (there === undefined) throw notThere();
    if ("eventGone" in there && there.eventGone) throw refused("conflict", EVENT_GONE);
  }
}

const EVENT_GONE = "The event was no longer retained when it was given up: there is nothing to deliver again. Drop it.";

interface Choice {
  readonly id: string;
  readonly consumer: string;
  readonly type: string;
}

function choiceOf(request: Choice): DeadLetterChoice {
  const { id, consumer } = request;
  const type = knownType(request.type);
  if (id !== "" && (consumer !== "" || type !== undefined)) throw invalid("either id, or consumer and type");
  if (id !== "") return { id };
  return { consumer: knownConsumer(consumer), ...(type === undefined ? {} : { type }) };
}

const letterMessage = (letter: DeadLetter): DeadLetterMessage =>
  create(DeadLetterSchema, {
    id: letter.letterId,
    consumer: letter.consumer,
    road: letter.road === "http" ? Road.HTTP : Road.NATS,
    eventId: letter.id,
    type: letter.type,
    connectionId: letter.connectionId,
    sequence: letter.sequence,
    reason: letter.reason,
    attempts: letter.attempts,
    diedAt: timestampFromMs(letter.diedAtMs),
    state: letter.state === "dead" ? DeadLetterState.DEAD : DeadLetterState.REDRIVING,
    redrives: letter.redrives,
    replayId: letter.replayId,
    eventGone: letter.eventGone,
  });
