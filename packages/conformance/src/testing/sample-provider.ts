import {
  createOAuthServer,
  type Emulator,
  type EmulatorOptions,
  type EmulatorParts,
  oauthRoutes,
  type RunningEmulator,
  startEmulator,
} from "@tributary/sandbox";
import { type Context, Hono } from "hono";
import { createHmac, randomUUID } from "node:crypto";

/** A note of the sample provider. */
export interface Note {
  readonly id: string;
  readonly title: string;
  readonly deleted: boolean;
}

export interface NotesWorld {
  add(title: string): Note;
  update(id: string, title: string): void;
  remove(id: string): void;
  notes(): Note[];
  expireCursors(): void;
}

const PAGE = 3;
const account = { id: "7", name: "Sample Person", email: "sample@example.com" } as const;

/** The smallest provider that every check applies to: pages of notes, a cursor, one action, webhooks. */
const notes: Emulator<NotesWorld> = {
  id: "sample",
  create: (parts) => {
    const oauth = createOAuthServer({ ...parts, quirks: QUIRKS, accounts: [account] });
    let current = worldOf(parts);
    let done = new Map<string, string>();
    const app = new Hono();
    oauthRoutes(app, oauth, parts.random);
    const guarded = (serve: (c: Context) => Promise<Response> | Response) => (c: Context) =>
      oauth.authenticate(c.req.header("authorization")) === undefined ? c.json({}, 401) : serve(c);
    app.get(
      "/me",
      guarded((c) => c.json({ id: account.id, email: account.email })),
    );
    app.get(
      "/changes",
      guarded((c) => current.page(c)),
    );
    app.post(
      "/notes",
      guarded(async (c) => {
        const { key, title } = await c.req.json<{ key: string; title: string }>();
        if (title === "refused") return c.json({}, 422);
        const id = done.get(key) ?? current.world.add(title).id;
        done.set(key, id);
        return c.json({ id });
      }),
    );
    return {
      app,
      oauth,
      get world() {
        return current.world;
      },
      reset: () => {
        current = worldOf(parts);
        done = new Map();
      },
      snapshot: () => undefined,
      restore: () => {},
    };
  },
};

const QUIRKS = {
  provider: "Sample",
  paths: { authorize: "/authorize", token: "/token", revoke: "/revoke" },
  scopes: { notes: "Read and add notes" },
  scopeSeparator: " ",
  tokenContentTypes: ["form"],
  pkce: "required",
  clientAuth: ["basic"],
  refresh: "rotate",
  expiresInSeconds: 3600,
} as const;

function worldOf(parts: EmulatorParts) {
  /** Every state of every note; a note's newest is the one that counts. */
  const log: Note[] = [];
  let generation = 1;
  const put = (note: Note): Note => {
    log.push(note);
    announce(parts);
    return note;
  };
  const newest = (): Map<string, Note> => new Map(log.map((note) => [note.id, note]));
  const world: NotesWorld = {
    add: (title) => put({ id: randomUUID(), title, deleted: false }),
    update: (id, title) => void put({ id, title, deleted: false }),
    remove: (id) => void put({ id, title: "", deleted: true }),
    notes: () => [...newest().values()].filter(({ deleted }) => !deleted),
    expireCursors: () => void generation++,
  };
  for (let index = 1; index <= 8; index++) world.add(`Note ${index}`);
  /** What changed after a cursor, a page at a time, each with the cursor that it ends at. */
  const page = (c: Context): Response => {
    const [itsGeneration = generation, at = 0] = c.req.query("cursor")?.split("-").map(Number) ?? [];
    if (itsGeneration !== generation) return c.json({}, 410);
    const current = newest();
    const changed = [...log.entries()].filter(([index, note]) => index >= at && current.get(note.id) === note);
    const part = changed.slice(0, PAGE);
    const more = part.length < changed.length;
    const end = more ? (part.at(-1)?.[0] ?? 0) + 1 : log.length;
    return c.json({ notes: part.map(([, note]) => note), more, cursor: `${generation}-${end}` });
  };
  return { world, page };
}

/** Signed as most providers do. */
function announce({ clients, deliveries, webhookUrl }: EmulatorParts): void {
  for (const { clientSecret } of clients) {
    if (webhookUrl === undefined) continue;
    const id = randomUUID();
    const body = JSON.stringify({ id, account: account.id });
    const signature = createHmac("sha256", clientSecret).update(body).digest("hex");
    deliveries.send({ id, url: webhookUrl, body, headers: { "x-delivery": id, "x-signature": signature } });
  }
}

export const sampleProvider = {
  origins: ["https://notes.example.com"],
  start: (options: EmulatorOptions): Promise<RunningEmulator<NotesWorld>> => startEmulator(notes, options),
};
export const sampleAccount = account;
