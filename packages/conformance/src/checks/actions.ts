import type { ActRequest } from "@tributary/integrations";
import { randomUUID } from "node:crypto";
import { type Check, codeOf, must } from "../check.ts";
import { type Linked, link } from "../consent-road.ts";
import { read } from "../drive.ts";
import type { Stage } from "../stage.ts";

const noActions: Check["exempt"] = ({ manifest }) =>
  Object.keys(manifest.actions ?? {}).length === 0 ? "the connector has no actions" : undefined;

/** Requests of one action whose answers are lost, one after the other. */
const REQUESTS_MAX = 10;

/** @returns the code that it was refused with; "nothing" when it was done. */
async function act(stage: Stage, { id, member }: Linked, request: ActRequest): Promise<string> {
  const error: unknown = await stage.connections.act(member.caller, id, request).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error !== undefined) stage.said.push(error);
  return codeOf(error);
}

function proofsOf(stage: Stage): Stage["person"]["actions"] {
  const { actions } = stage.person;
  const missing = Object.keys(stage.connector.manifest.actions ?? {}).filter((type) =>
    actions.every((proof) => proof.type !== type),
  );
  must(
    missing.length === 0,
    `the adapter proves no ${missing.join(", ")}`,
    "add each action to the adapter's `actions`",
  );
  return actions;
}

const once: Check = {
  name: "asking twice with one key acts once, also when the first answer was lost",
  exempt: noActions,
  run: async (stage) => {
    const linked = await link(stage, "a");
    await read(stage, linked);
    for (const proof of proofsOf(stage)) {
      for (let lost = 0; ; lost++) {
        must(lost < REQUESTS_MAX, `${proof.type} makes more than ${REQUESTS_MAX} requests`, "do it in fewer");
        const input = proof.input();
        const request = { type: proof.type, input, idempotencyKey: randomUUID() };
        stage.control.faults.add({ match: {}, after: lost, reset: true, afterEffect: true });
        const first = await act(stage, linked, request);
        const hit = stage.control.faults.pending === 0;
        stage.control.faults.clear();
        must(
          first === (hit ? "provider_unavailable" : "nothing"),
          `${proof.type} ended as "${first}" when ${hit ? "an answer was lost" : "nothing was wrong"}`,
          "let what `user.fetch` throws leave `act` as it is",
        );
        for (const which of ["second", "third"]) {
          const again = await act(stage, linked, request);
          must(again === "nothing", `the ${which} ${proof.type} ended as "${again}"`, "make repeating harmless");
        }
        const effects = proof.effects(input);
        must(
          effects === 1,
          `${proof.type}, asked three times with one key, had ${effects} effects`,
          "give `action.idempotencyKey` to the provider, or look first whether it was done",
        );
        if (!hit) break;
      }
    }
  },
};

const refused: Check = {
  name: "an action that the provider refuses is answered as refused",
  exempt: (connector, stage) =>
    noActions?.(connector, stage) ??
    (stage.person.actions.every((proof) => proof.refused === undefined)
      ? "the adapter knows no input that the provider refuses"
      : undefined),
  run: async (stage) => {
    const linked = await link(stage, "a");
    await read(stage, linked);
    for (const { type, refused: input } of proofsOf(stage)) {
      if (input === undefined) continue;
      const request = { type, input, idempotencyKey: randomUUID() };
      for (const which of ["first", "second"]) {
        const code = await act(stage, linked, request);
        must(
          code === "action_rejected",
          `the ${which} ${type} that the provider refuses ended as "${code}"`,
          "throw Rejected when repeating cannot help",
        );
      }
    }
  },
};

export const actionChecks: readonly Check[] = [once, refused];
