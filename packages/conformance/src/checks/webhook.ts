import { createIngress } from "@tributary/integrations";
import type { SentDelivery } from "@tributary/sandbox";
import { type Check, codeOf, must } from "../check.ts";
import { link } from "../consent-road.ts";
import { read } from "../drive.ts";
import type { Stage } from "../stage.ts";

/** Something changes at the provider. @returns the delivery that it would send. */
function deliveryOf(stage: Stage): SentDelivery {
  stage.person.add();
  const sent = stage.control.deliveries.sent.at(-1);
  must(sent !== undefined, "the emulator sent no webhook for a change", "send one with `parts.deliveries.send`");
  return sent;
}

/** @returns how many connections it woke, or the code that it was refused with. */
async function deliver(
  stage: Stage,
  { headers, body }: Pick<SentDelivery, "headers" | "body">,
): Promise<number | string> {
  try {
    return await createIngress(stage.runtime).receive({
      contextId: stage.connector.id,
      integration: stage.connector.id,
      headers: new Headers(headers),
      body: Buffer.from(body),
    });
  } catch (error) {
    stage.said.push(error);
    return codeOf(error);
  }
}

const noWebhook: Check["exempt"] = ({ webhook }) =>
  webhook?.accounts === undefined ? "the connector has no webhook" : undefined;

const forged: Check = {
  name: "a forged webhook is refused before connector code runs",
  exempt: noWebhook,
  run: async (stage) => {
    const linked = await link(stage, "a");
    await read(stage, linked);
    const sent = deliveryOf(stage);
    const scheme = stage.connector.webhook?.verify;
    const signature = scheme !== undefined && "header" in scheme ? scheme.header : "";
    const unsigned = Object.fromEntries(Object.entries(sent.headers).filter(([name]) => name !== signature));
    const forgeries = {
      "a changed body": { ...sent, body: `${sent.body} ` },
      "no signature": { ...sent, headers: unsigned },
      "an empty signature": { ...sent, headers: { ...unsigned, [signature]: "" } },
      "a short signature": {
        ...sent,
        headers: { ...unsigned, [signature]: sent.headers[signature]?.slice(0, 8) ?? "" },
      },
    };
    for (const [what, delivery] of Object.entries(forgeries)) {
      const answer = await deliver(stage, delivery);
      must(answer === "invalid_signature", `a delivery with ${what} ended as "${answer}"`, "declare `webhook.verify`");
    }
    must(stage.witness.deliveries === 0, "connector code saw a forged delivery", "do nothing in a getter of `webhook`");
  },
};

const wakes: Check = {
  name: "a webhook wakes its connection, and the same one again does nothing",
  exempt: noWebhook,
  run: async (stage) => {
    const linked = await link(stage, "a");
    await read(stage, linked);
    const sent = deliveryOf(stage);
    const first = await deliver(stage, sent);
    must(
      first === 1,
      `a delivery ended as "${first}" instead of waking 1`,
      "name the account's id in `webhook.accounts`",
    );
    const again = await deliver(stage, sent);
    must(again === 0, `the same delivery again ended as "${again}" instead of 0`, "name the provider's delivery id");
    const { events } = await read(stage, linked);
    must(events === 1, `the run after it published ${events} events`, "report the change that the webhook announced");
  },
};

export const webhookChecks: readonly Check[] = [forged, wakes];
