import { z } from "zod";

/**
 * The public HTTP API as the pages see it. Called in process, with what the browser sent to prove who it is; the pages
 * can do nothing that the API cannot.
 * @param request The browser's request, whose cookie and origin speak for the person.
 */
export type Api = (path: string, init: RequestInit | undefined, request: Request) => Promise<Response>;

/** What the API needs of the browser's own headers to decide who asks, and whether a page of ours let them. */
const FORWARDED = ["cookie", "origin", "sec-fetch-site"] as const;

/** An {@link Api} over a fetch handler in this process. */
export const apiOver =
  (handler: (request: Request) => Response | Promise<Response>): Api =>
  async (path, init, request) => {
    const headers = new Headers(init?.headers);
    for (const name of FORWARDED) {
      const value = request.headers.get(name);
      if (value !== null) headers.set(name, value);
    }
    return handler(new Request(new URL(path, request.url), { ...init, headers }));
  };

const instant = z.string();
const words = z.object({ en: z.string(), pl: z.string() });

export const meSchema = z.object({
  user: z.object({ id: z.string(), name: z.string(), email: z.string() }),
  organization: z.object({ id: z.string(), name: z.string() }),
  permissions: z.array(z.string()).default([]),
});

export const integrationSchema = z.object({
  id: z.string(),
  name: z.string(),
  description: words,
  category: z.string(),
  owner: z.enum(["user", "organization"]),
  scopes: z.array(z.object({ id: z.string(), required: z.boolean(), label: words, why: words })),
  pollIntervalMs: z.number().nullable(),
  actions: z.array(z.object({ type: z.string(), label: words })),
  revocationUrl: z.string(),
  docsUrl: z.string(),
  sandbox: z.boolean(),
});

export const connectionStates = [
  "connected",
  "syncing",
  "error",
  "expired",
  "limited",
  "stale",
  "paused",
  "disconnected",
] as const;

export const connectionSchema = z.object({
  id: z.string(),
  integration: z.string(),
  name: z.string(),
  state: z.enum(connectionStates),
  stateSince: instant,
  reason: z.object({ code: z.string(), message: z.string() }).nullable(),
  account: z.object({ id: z.string(), label: z.string() }).nullable(),
  scopes: z.object({ asked: z.array(z.string()), granted: z.array(z.string()) }),
  lastEventAt: instant.nullable(),
  verifiedAt: instant.nullable(),
  nextRunAt: instant.nullable(),
  pausedBy: z.string().nullable(),
  progress: z.object({ read: z.number(), total: z.number().nullable() }).nullable(),
  /** Events per half hour over the last 24 hours, oldest first. */
  strip: z.array(z.number()).length(48),
  events: z.number(),
  receiptId: z.string().nullable(),
});

export const eventSchema = z.object({
  id: z.string(),
  type: z.string(),
  time: instant,
  sequence: z.union([z.number(), z.string()]),
  objectKey: z.string(),
  data: z.record(z.string(), z.unknown()),
});

export const receiptSchema = z.object({
  id: z.string(),
  connectionId: z.string(),
  integration: z.string(),
  /** Label of the account, such as an address; null when it was never known. */
  account: z.string().nullable(),
  at: instant,
  revocation: z.enum(["confirmed", "pending", "unsupported", "given_up"]),
  secretsDeleted: z.number(),
  eventsKept: z.number(),
  eventsDeleted: z.number(),
  keptUntil: instant.nullable(),
});

export const startSchema = z.object({ redirectUrl: z.url({ protocol: /^https?$/ }) });

export type Me = z.infer<typeof meSchema>;
export type Integration = z.infer<typeof integrationSchema>;
export type Connection = z.infer<typeof connectionSchema>;
export type ConnectionState = Connection["state"];
export type ConnectionEvent = z.infer<typeof eventSchema>;
export type Receipt = z.infer<typeof receiptSchema>;

/** What the API answered instead of what was asked for. Status 0: it did not answer, or not as agreed. */
export class ApiRefusal extends Error {
  override readonly name = "ApiRefusal";
  readonly status: number;
  readonly code: string;
  readonly correlationId: string | undefined;
  constructor(status: number, code: string, correlationId?: string) {
    super(`${status} ${code}`);
    this.status = status;
    this.code = code;
    this.correlationId = correlationId;
  }
}

const errorSchema = z.object({ error: z.string().max(100), correlationId: z.string().max(100).optional() });

/** Asks on behalf of one request. What it gives @throws ApiRefusal. */
export const asker =
  (api: Api, request: Request) =>
  async <T>(schema: z.ZodType<T>, path: string, init?: RequestInit): Promise<T> => {
    const response = await api(path, init, request).catch(() => {
      throw new ApiRefusal(0, "unreachable");
    });
    const body: unknown = await response.json().catch(() => undefined);
    if (!response.ok) {
      const error = errorSchema.safeParse(body).data;
      throw new ApiRefusal(response.status, error?.error ?? "unknown", error?.correlationId);
    }
    const parsed = schema.safeParse(body);
    if (!parsed.success) throw new ApiRefusal(0, "unexpected_answer");
    return parsed.data;
  };

export const json = (method: string, body: unknown): RequestInit => ({
  method,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});

/** The questions that the pages ask, on behalf of one request. Each @throws ApiRefusal. */
export function apiFor(api: Api, request: Request) {
  const ask = asker(api, request);
  const items = <T>(schema: z.ZodType<T>) => z.object({ items: z.array(schema) });
  const at = (id: string): string => `/api/connections/${encodeURIComponent(id)}`;
  return {
    me: () => ask(meSchema, "/api/me"),
    integrations: async () => (await ask(items(integrationSchema), "/api/integrations")).items,
    connections: async () => (await ask(items(connectionSchema), "/api/connections")).items,
    connection: (id: string) => ask(connectionSchema, at(id)),
    events: async (id: string) => (await ask(items(eventSchema), `${at(id)}/events?limit=50`)).items,
    receipt: (id: string) => ask(receiptSchema, `/api/receipts/${encodeURIComponent(id)}`),
    begin: (integration: string, connectionId: string | undefined) =>
      ask(
        startSchema,
        `/api/integrations/${encodeURIComponent(integration)}/oauth/start`,
        json("POST", { connectionId }),
      ),
    pause: (id: string) => ask(connectionSchema, `${at(id)}/pause`, json("POST", {})),
    resume: (id: string) => ask(connectionSchema, `${at(id)}/resume`, json("POST", {})),
    sync: (id: string) => ask(connectionSchema, `${at(id)}/sync`, json("POST", {})),
    disconnect: (id: string, deleteEvents: boolean) => ask(receiptSchema, at(id), json("DELETE", { deleteEvents })),
  };
}

export type ApiClient = ReturnType<typeof apiFor>;
