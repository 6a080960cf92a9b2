import type { Json, Webhook } from "@tributary/sdk";
import { and, eq, inArray, ne } from "drizzle-orm";
import { createHash } from "node:crypto";
import { IntegrationError, notFound } from "./errors.ts";
import { wake } from "./lease.ts";
import type { Runtime } from "./runtime.ts";
import { connection, delivery } from "./schema.ts";

export interface InboundRequest {
  /** From the path: the OAuth client that the webhook was set up for. */
  readonly contextId: string;
  readonly integration: string;
  readonly headers: Headers;
  /** The body as it came; signatures are over these bytes. */
  readonly body: Uint8Array;
}

/**
 * One webhook request: verified on the raw body before anything of it is read, written down durably, and then the
 * connections it concerns are made due. A delivery seen before is acknowledged and does nothing.
 * @returns how many connections were woken.
 * @throws IntegrationError invalid_signature · malformed_body · not_found.
 */
export async function receiveDelivery(runtime: Runtime, request: InboundRequest): Promise<number> {
  const connector = runtime.registry.get(request.integration);
  const { webhook } = connector;
  if (webhook?.accounts === undefined) throw notFound();
  await verify(runtime, webhook, request);
  const headers = Object.fromEntries(request.headers);
  const accounts = readAccounts(webhook, headers, parse(request.body));
  const deliveryId = identify(webhook, request);
  return runtime.database.transaction(async (tx) => {
    const first = await tx
      .insert(delivery)
      .values({ contextId: request.contextId, deliveryId, integration: connector.id })
      .onConflictDoNothing()
      .returning({ id: delivery.deliveryId });
    if (first.length === 0 || accounts.length === 0) return 0;
    const rows = await tx
      .select({ id: connection.id, organizationId: connection.organizationId })
      .from(connection)
      .where(
        and(
          eq(connection.integration, connector.id),
          inArray(connection.accountId, [...accounts]),
          ne(connection.state, "disconnected"),
        ),
      );
    let woken = 0;
    for (const { id, organizationId } of rows) woken += await wake(tx, organizationId, [id]);
    return woken;
  });
}

async function verify(runtime: Runtime, webhook: Webhook, { contextId, headers, body }: InboundRequest): Promise<void> {
  const refused = (): IntegrationError =>
    new IntegrationError("invalid_signature", "The signature does not match the body.");
  const { verify: how } = webhook;
  // The other schemes come with the first connector that needs them.
  if (how.scheme !== "hmac-sha256" || how.key !== "client_secret") throw refused();
  const value = headers.get(how.header);
  if (value === null || !value.startsWith(how.prefix ?? "")) throw refused();
  const signature = Buffer.from(value.slice((how.prefix ?? "").length), how.encoding);
  if (!(await runtime.vault.verifySignature(contextId, "hmac-sha256", body, signature))) throw refused();
}

function parse(body: Uint8Array): Json {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)) as Json;
  } catch {
    throw new IntegrationError("malformed_body", "The body is not JSON.");
  }
}

function readAccounts(webhook: Webhook, headers: Readonly<Record<string, string>>, body: Json): readonly string[] {
  try {
    return webhook.accounts?.({ headers, body }).slice(0, 100) ?? [];
  } catch {
    throw new IntegrationError("malformed_body", "The body does not have the shape of a delivery.");
  }
}

function identify(webhook: Webhook, { headers, body }: InboundRequest): string {
  const named = webhook.deliveryIdHeader === undefined ? null : headers.get(webhook.deliveryIdHeader);
  // The header is not signed: together with the body it cannot be used to make us drop another delivery.
  return `${(named ?? "").slice(0, 100)}:${createHash("sha256").update(body).digest("base64url")}`;
}
