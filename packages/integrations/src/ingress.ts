import { acrossOrganizations, runLast } from "@tributary/db";
import type { Json, Webhook } from "@tributary/sdk";
import { hash } from "node:crypto";
import { IntegrationError, notFound } from "./errors.ts";
import type { Runtime } from "./runtime.ts";

export interface InboundRequest {
  /** From the path: the OAuth client that the webhook was set up for. */
  readonly contextId: string;
  readonly integration: string;
  readonly headers: Headers;
  /** The body as it came; signatures are over these bytes. */
  readonly body: Uint8Array;
}

/** Where webhook requests come in. */
export interface Ingress {
  /**
   * One request: verified on the raw body before anything of it is read, written down durably, and then the connections
   * it concerns are made due. A delivery seen before is acknowledged and does nothing.
   * @returns how many connections were woken.
   * @throws IntegrationError invalid_signature · malformed_body · not_found · temporarily_unavailable (the sender tries again).
   */
  receive(request: InboundRequest): Promise<number>;
}

export interface IngressOptions {
  /** While true nothing is taken in: the sender is told to try again later. */
  readonly resting?: () => boolean;
}

/** Deliveries in one transaction, and deliveries that wait for the next, at most. */
const GROUP_MAX = 500;
const WAITING_MAX = 10_000;

interface Waiting {
  readonly delivery: AcceptedDelivery;
  readonly resolve: (woken: number) => void;
  readonly reject: (error: unknown) => void;
}

interface AcceptedDelivery {
  readonly context: string;
  readonly id: string;
  readonly integration: string;
  readonly accounts: readonly string[];
  /** Whose connections it may wake; null: everybody's, for the client that signed it is the deployment's. */
  readonly organization: string | null;
}

/**
 * Commits in groups: what arrives while one transaction is under way goes into the next, so that a burst costs a
 * transaction for hundreds, and a single delivery waits for nobody.
 */
export function createIngress(runtime: Runtime, { resting = () => false }: IngressOptions = {}): Ingress {
  let waiting: Waiting[] = [];
  let busy = false;

  async function drain(): Promise<void> {
    busy = true;
    while (waiting.length > 0) {
      const group = waiting.slice(0, GROUP_MAX);
      waiting = waiting.slice(GROUP_MAX);
      const rows = JSON.stringify(group.map(({ delivery }) => delivery));
      try {
        const accepted = await acrossOrganizations(runtime.database, "ingress", (tx) =>
          runLast<Woken>(tx, ACCEPT, [rows]),
        );
        const woken = new Map(accepted.map((row) => [nameOf(row), row.woken]));
        for (const { delivery, resolve } of group) resolve(woken.get(nameOf(delivery)) ?? 0);
      } catch (error) {
        for (const { reject } of group) reject(unavailable(error));
      }
    }
    busy = false;
  }

  return {
    receive: async (request) => {
      if (resting()) throw unavailable();
      const delivery = await accept(runtime, request);
      if (waiting.length >= WAITING_MAX) throw unavailable();
      return new Promise<number>((resolve, reject) => {
        waiting.push({ delivery, resolve, reject });
        if (!busy) void drain();
      });
    },
  };
}

const unavailable = (cause?: unknown): IntegrationError => {
  const error = new IntegrationError("temporarily_unavailable", "Deliveries cannot be taken in right now.");
  if (cause !== undefined) error.cause = cause;
  return error;
};

/**
 * Rows are locked in the order of their ids, so that two processes never wait for each other's. A connection that is
 * woken already is left alone: its run has not begun, and will see this change as well.
 */
const ACCEPT = `
WITH incoming AS (
  SELECT DISTINCT ON (context, id) * FROM jsonb_to_recordset($1::jsonb) AS x (context text, id text, integration text, accounts jsonb, organization text)
), first AS (
  INSERT INTO integrations.delivery (context_id, delivery_id, integration)
  SELECT context, id, integration FROM incoming ORDER BY context, id
  ON CONFLICT DO NOTHING RETURNING context_id, delivery_id
), concerned AS (
  SELECT DISTINCT i.integration, i.organization, a.account FROM incoming i
  JOIN first f ON f.context_id = i.context AND f.delivery_id = i.id
  CROSS JOIN jsonb_array_elements_text(i.accounts) AS a (account)
), locked AS (
  SELECT c.id FROM concerned n JOIN integrations.connection c ON c.integration = n.integration AND c.account_id = n.account
  WHERE c.state NOT IN ('paused', 'expired', 'disconnected') AND NOT (c.wake AND c.due_at <= now())
    AND (n.organization IS NULL OR c.organization_id = n.organization)
  ORDER BY c.id FOR UPDATE OF c
), woken AS (
  UPDATE integrations.connection c SET due_at = now(), wake = true FROM locked WHERE c.id = locked.id
  RETURNING c.integration, c.account_id
)
SELECT f.context_id AS context, f.delivery_id AS id, count(w.account_id)::int AS woken
FROM first f JOIN incoming i ON i.context = f.context_id AND i.id = f.delivery_id
LEFT JOIN woken w ON w.integration = i.integration AND i.accounts ? w.account_id
GROUP BY 1, 2`;

interface Woken {
  readonly context: string;
  readonly id: string;
  readonly woken: number;
}
const nameOf = ({ context, id }: Pick<Woken, "context" | "id">): string => `${context} ${id}`;

/** @returns what is to be kept of a request that is genuine. */
async function accept(runtime: Runtime, request: InboundRequest): Promise<AcceptedDelivery> {
  const connector = runtime.registry.get(request.integration);
  const { webhook } = connector;
  if (webhook?.accounts === undefined) throw notFound();
  const organization = await verify(runtime, webhook, request);
  const accounts = readAccounts(webhook, request);
  return {
    context: request.contextId,
    id: identify(webhook, request),
    integration: connector.id,
    accounts,
    organization,
  };
}

/** @returns the organisation that it may speak for; null for every one. */
async function verify(runtime: Runtime, webhook: Webhook, request: InboundRequest): Promise<string | null> {
  const { contextId, integration, headers, body } = request;
  const refused = (): IntegrationError =>
    new IntegrationError("invalid_signature", "The signature does not match the body.");
  const { verify: how } = webhook;
  // The other schemes come with the first connector that needs them.
  if (how.scheme !== "hmac-sha256" || how.key !== "client_secret") throw refused();
  const value = headers.get(how.header);
  if (value === null || !value.startsWith(how.prefix ?? "")) throw refused();
  const signature = Buffer.from(value.slice((how.prefix ?? "").length), how.encoding);
  const signed = await runtime.vault.verifySignature(contextId, "hmac-sha256", body, signature);
  // A client that is somebody's own for one integration proves nothing about another.
  if (signed?.integration !== integration) throw refused();
  return signed.organizationId ?? null;
}

function readAccounts(webhook: Webhook, request: InboundRequest): readonly string[] {
  const body = parse(request.body);
  try {
    const delivery = {
      body,
      // Few connectors look at them, and a record of all of them is the dearest thing about a request.
      get headers() {
        return Object.fromEntries(request.headers);
      },
    };
    return webhook.accounts?.(delivery).slice(0, 100) ?? [];
  } catch {
    throw new IntegrationError("malformed_body", "The body does not have the shape of a delivery.");
  }
}

function parse(body: Uint8Array): Json {
  try {
    return JSON.parse(utf8.decode(body)) as Json;
  } catch {
    throw new IntegrationError("malformed_body", "The body is not JSON.");
  }
}
const utf8 = new TextDecoder("utf-8", { fatal: true });

function identify(webhook: Webhook, { headers, body }: InboundRequest): string {
  const named = webhook.deliveryIdHeader === undefined ? null : headers.get(webhook.deliveryIdHeader);
  // The header is not signed: together with the body it cannot be used to make us drop another delivery.
  return `${(named ?? "").slice(0, 100)}:${hash("sha256", body, "base64url")}`;
}
