import type { EmulatorParts, OAuthServer } from "@tributary/sandbox";
import { createHmac, randomUUID } from "node:crypto";
import { type Change, type TodoistWorld, todoistTime } from "./emulator-world.ts";

/**
 * Sends what changed to the app's webhook, signed with its client secret. As at Todoist, an app hears of a person only
 * after that person has consented to it. A delivery that was not answered with 200 is sent again on request only:
 * Todoist would do so after 15 minutes, at most three times.
 */
export function createWebhooks(
  parts: EmulatorParts,
  oauth: OAuthServer,
): (change: Change, world: TodoistWorld) => void {
  return ({ event, item, extra }, { account }) => {
    for (const { clientId, clientSecret } of parts.clients) {
      if (parts.webhookUrl === undefined || !oauth.hasGrant(clientId)) continue;
      const body = JSON.stringify({
        event_name: event,
        user_id: account.id,
        event_data: item,
        ...(extra === undefined ? {} : { event_data_extra: extra }),
        initiator: { id: account.id, full_name: account.name, email: account.email, image_id: null, is_premium: false },
        triggered_at: todoistTime(parts.clock.now()),
        version: "1",
      });
      const id = randomUUID();
      parts.deliveries.send({
        id,
        url: parts.webhookUrl,
        body,
        headers: {
          "content-type": "application/json",
          "user-agent": "Todoist-Webhooks",
          "x-todoist-delivery-id": id,
          "x-todoist-hmac-sha256": createHmac("sha256", clientSecret).update(body).digest("base64"),
        },
      });
    }
  };
}
