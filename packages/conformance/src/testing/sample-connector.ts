import { TaskChangedSchema, TaskDeletedSchema } from "@tributary/contracts";
import {
  checkpoint,
  type Connector,
  type Json,
  oauth2,
  Rejected,
  type Schema,
  signal,
  type User,
} from "@tributary/sdk";
import type { ProviderAdapter } from "../provider-adapter.ts";
import { type Note, type NotesWorld, sampleAccount } from "./sample-provider.ts";

const API = "https://notes.example.com";

export interface ChangesPage {
  readonly notes: readonly Note[];
  readonly more: boolean;
  readonly cursor: string;
}

/** A schema by one question. */
export const shape = <T>(fits: (value: Record<string, unknown>) => boolean): Schema<T> => ({
  parse: (value) => {
    if (typeof value !== "object" || value === null || !fits(value as Record<string, unknown>))
      throw new TypeError("no");
    return value as T;
  },
});
const Me = shape<{ id: string; email: string }>(({ id, email }) => typeof id === "string" && typeof email === "string");
const Page = shape<ChangesPage>(({ notes, cursor }) => Array.isArray(notes) && typeof cursor === "string");
const NewNote = shape<{ title: string }>(({ title }) => typeof title === "string");
const Made = shape<{ id: string }>(({ id }) => typeof id === "string");
const Delivery = shape<{ account: string }>(({ account }) => typeof account === "string");

export const changes = (user: User, cursor: Json | undefined): Promise<ChangesPage> =>
  user.json(Page, `${API}/changes`, typeof cursor === "string" ? { query: { cursor } } : {});

export const signalOf = (user: User, { id, title, deleted }: Note, idOf = id) =>
  deleted
    ? signal(TaskDeletedSchema, { id: idOf, occurredAt: user.now(), data: { taskId: id } })
    : signal(TaskChangedSchema, { id: idOf, occurredAt: user.now(), data: { task: { id, title } } });

/** Right in everything, so that what is broken in a copy of it is the one thing that a check finds. */
export const sample: Connector = {
  id: "sample",
  scopes: [
    {
      id: "notes",
      required: true,
      label: { en: "Read and add notes", pl: "Odczyt i dodawanie notatek" },
      why: { en: "so that there is something to prove", pl: "aby było co sprawdzać" },
    },
  ],
  manifest: {
    name: "Sample",
    description: { en: "Follows notes.", pl: "Śledzi notatki." },
    category: "other",
    owner: "organization",
    hosts: ["notes.example.com"],
    apiVersions: [{ id: "v1", label: "v1", status: "stable" }],
    pollIntervalMs: 60_000,
    events: [TaskChangedSchema, TaskDeletedSchema],
    actions: { "note.add": { label: { en: "Add a note", pl: "Dodaj notatkę" }, input: NewNote } },
    revocationUrl: `${API}/apps`,
    docsUrl: `${API}/docs`,
  },
  ...oauth2(
    { authorizationUrl: `${API}/authorize`, tokenUrl: `${API}/token`, revocation: `${API}/revoke` },
    async (user) => {
      const { id, email } = await user.json(Me, `${API}/me`);
      return { id, label: email };
    },
  ),
  async *fetchSignals(user, since) {
    for (let cursor = since, more = true; more;) {
      const page = await changes(user, cursor);
      for (const note of page.notes) yield signalOf(user, note);
      ({ cursor, more } = page);
      yield checkpoint(cursor);
    }
  },
  act: async (user, { input, idempotencyKey: key }) => {
    const { title } = NewNote.parse(input);
    const response = await user.fetch(`${API}/notes`, { method: "POST", json: { key, title } });
    if (response.status === 422) throw new Rejected("The provider refused the note.");
    return Made.parse(await response.json());
  },
  webhook: {
    verify: { scheme: "hmac-sha256", header: "x-signature", encoding: "hex", key: "client_secret" },
    deliveryIdHeader: "x-delivery",
    accounts: ({ body }) => [Delivery.parse(body).account],
  },
};

let titles = 0;

export const sampleAdapter: ProviderAdapter<NotesWorld> = {
  accountId: sampleAccount.id,
  add: (world) => world.add("Another note").id,
  added: TaskChangedSchema,
  deeds: [
    { name: "changing", does: (world, id) => world.update(id, "A better note"), gives: TaskChangedSchema },
    { name: "deleting", does: (world, id) => world.remove(id), gives: TaskDeletedSchema, deletes: true },
  ],
  expireCursor: (world) => world.expireCursors(),
  actions: [
    {
      type: "note.add",
      input: () => ({ title: `Note by action ${++titles}` }),
      effects: (world, input) =>
        world.notes().filter(({ title }) => title === (input as { title: string }).title).length,
      refused: { title: "refused" },
    },
  ],
};
