import { Hono } from "hono";
import type { Connection, ConnectionEvent, ConnectionState, Integration, Me, Receipt } from "../api.ts";
import { FakePeople } from "./fake-people.ts";

/** What the fake clock shows; every sample is told relative to it. */
export const NOW = new Date("2026-11-21T12:00:00Z");
const ago = (minutes: number): string => new Date(NOW.getTime() - minutes * 60_000).toISOString();

export const me: Me = {
  user: { id: "5c5f3c86-6a4f-4b62-9f3e-0b6c3f1e2a10", name: "Sample Person", email: "sample@example.com" },
  organization: { id: "sample", name: "Sample" },
  permissions: ["integrations.view", "integrations.manage", "integrations.credentials"],
};

const scope = (id: string, required: boolean, en: string, pl: string, whyEn: string, whyPl: string) => ({
  id,
  required,
  label: { en, pl },
  why: { en: whyEn, pl: whyPl },
});

export const integrations: readonly Integration[] = [
  {
    id: "todoist",
    name: "Todoist",
    description: { en: "Your tasks, as they change.", pl: "Twoje zadania, gdy się zmieniają." },
    category: "tasks",
    owner: "user",
    scopes: [
      scope(
        "data:read",
        true,
        "Read your tasks and projects",
        "Odczyt zadań i projektów",
        "so that others hear when one is done",
        "aby inni wiedzieli, gdy coś zostanie ukończone",
      ),
      scope(
        "data:read_write",
        false,
        "Complete a task",
        "Ukończenie zadania",
        "only when you ask for it",
        "tylko wtedy, gdy o to poprosisz",
      ),
    ],
    pollIntervalMs: 300_000,
    actions: [{ type: "complete_task", label: { en: "Complete a task", pl: "Ukończ zadanie" } }],
    revocationUrl: "https://app.todoist.com/app/settings/integrations",
    docsUrl: "https://developer.todoist.com",
    sandbox: true,
  },
  {
    id: "calendar",
    name: "Calendar of a Provider with a Long Name",
    description: { en: "What is planned, and what moved.", pl: "Co jest zaplanowane i co się przesunęło." },
    category: "calendar",
    owner: "user",
    scopes: [
      scope(
        "https://calendar.example.com/auth/events.readonly",
        true,
        "Read your events",
        "Odczyt wydarzeń",
        "so that plans can follow",
        "aby plany mogły za nimi nadążać",
      ),
    ],
    pollIntervalMs: null,
    actions: [],
    revocationUrl: "https://calendar.example.com/permissions",
    docsUrl: "https://calendar.example.com/docs",
    sandbox: false,
  },
];

const strip = (seed: number): number[] =>
  Array.from({ length: 48 }, (_, half) => ((half * seed) % 11 > 6 && half > 6 ? ((half * seed) % 7) + 1 : 0));

const base: Connection = {
  id: "c-connected",
  integration: "todoist",
  name: "Todoist",
  state: "connected",
  stateSince: ago(2 * 1440),
  reason: null,
  account: { id: "1", label: "sample@example.com" },
  scopes: { asked: ["data:read", "data:read_write"], granted: ["data:read", "data:read_write"] },
  lastEventAt: ago(3),
  verifiedAt: ago(1),
  nextRunAt: new Date(NOW.getTime() + 240_000).toISOString(),
  pausedBy: null,
  progress: null,
  strip: strip(5),
  events: 1284,
  receiptId: null,
};

const only: Partial<Record<ConnectionState, Partial<Connection>>> = {
  syncing: { progress: { read: 1200, total: 4310 } },
  error: { reason: { code: "provider_unavailable", message: "The provider answered 503." } },
  expired: { integration: "calendar", name: "Calendar of a Provider with a Long Name" },
  limited: { scopes: { asked: ["data:read", "data:read_write"], granted: ["data:read"] } },
  stale: { verifiedAt: ago(4 * 1440), strip: Array.from({ length: 48 }, () => 0) },
  paused: { pausedBy: me.user.id },
  disconnected: { receiptId: "r-1", account: null },
};

/** One connection in each state. */
export const sampleConnection = (state: ConnectionState): Connection => ({
  ...base,
  id: `c-${state}`,
  state,
  ...only[state],
});

export const receipt: Receipt = {
  id: "r-1",
  connectionId: "c-disconnected",
  integration: "todoist",
  account: "sample@example.com",
  at: ago(60),
  revocation: "confirmed",
  secretsDeleted: 2,
  eventsKept: 1284,
  eventsDeleted: 0,
  keptUntil: ago(-30 * 1440),
};

const EVENT_TYPES = ["TaskChanged", "TaskCompleted", "TaskReopened", "TaskDeleted"];
export const TITLE = "Water the <plants> & call home";
const eventAt = (index: number): ConnectionEvent => ({
  id: `e${index}`,
  type: `tributary.task.v1.${EVENT_TYPES[index % 4]}`,
  time: ago(3 + index * 17),
  sequence: String(1284 - index),
  objectKey: `task/${index}`,
  data: index % 4 === 3 ? { taskId: `${index}` } : { task: { id: `${index}`, title: TITLE } },
});

/** The public API as the pages need it, over samples that tests change as they like. */
export class FakeApi {
  readonly #events: number;
  readonly asked: string[] = [];
  readonly bodies: unknown[] = [];
  connections: Connection[] = [];
  /** Answers everything with this status when set. */
  failure: { status: number; error: string; correlationId?: string } | undefined;
  receipt: Receipt = receipt;
  signedIn = true;
  permissions = me.permissions;
  readonly people = new FakePeople();
  redirectUrl = "http://127.0.0.1:1/oauth/authorize?client_id=hub";

  constructor(events = 50) {
    this.#events = events;
  }

  readonly fetch = async (request: Request): Promise<Response> => this.#app().fetch(request);

  #app(): Hono {
    const app = new Hono();
    const find = (id: string | undefined): Connection | undefined => this.connections.find((one) => one.id === id);
    app.use(async (c, next) => {
      this.asked.push(`${c.req.method} ${c.req.path}`);
      if (c.req.method !== "GET") this.bodies.push(await c.req.json().catch(() => null));
      const { failure } = this;
      if (failure !== undefined) return c.json(failure, failure.status as 500);
      if (!this.signedIn) return c.json({ error: "missing_authorization" }, 401);
      return next();
    });
    app.get("/api/me", (c) => c.json({ ...me, permissions: this.permissions }));
    this.people.mount(app);
    app.get("/api/integrations", (c) => c.json({ items: integrations }));
    app.get("/api/connections", (c) => c.json({ items: this.connections }));
    app.get("/api/receipts/:id", (c) => (c.req.param("id") === this.receipt.id ? c.json(this.receipt) : c.notFound()));
    app.post("/api/integrations/:id/oauth/start", (c) => c.json({ redirectUrl: this.redirectUrl }));
    app.get("/api/connections/:id/events", (c) =>
      c.json({ items: Array.from({ length: this.#events }, (_, index) => eventAt(index)) }),
    );
    app.get("/api/connections/:id", (c) => {
      const found = find(c.req.param("id"));
      return found === undefined ? c.notFound() : c.json(found);
    });
    app.delete("/api/connections/:id", (c) => {
      this.#change(c.req.param("id"), { state: "disconnected", receiptId: this.receipt.id });
      return c.json(this.receipt);
    });
    for (const [verb, state] of [
      ["pause", "paused"],
      ["resume", "connected"],
      ["sync", "syncing"],
    ] as const) {
      app.post(`/api/connections/:id/${verb}`, (c) => {
        const changed = this.#change(c.req.param("id"), { state });
        return changed === undefined ? c.notFound() : c.json(changed);
      });
    }
    app.notFound((c) => c.json({ error: "not_found" }, 404));
    return app;
  }

  #change(id: string, change: Partial<Connection>): Connection | undefined {
    this.connections = this.connections.map((one) => (one.id === id ? { ...one, ...change } : one));
    return this.connections.find((one) => one.id === id);
  }
}
