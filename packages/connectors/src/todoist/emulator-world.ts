import { type ChangeLog, createChangeLog, type SandboxAccount, type SandboxClock } from "@tributary/sandbox";
import { createHash } from "node:crypto";
import { type EmulatedDue, nextOccurrence, parseDue } from "./emulator-due.ts";

/** A task on the wire; every field that the parser of `@doist/todoist-sdk` asks for. */
export interface EmulatedItem {
  readonly id: string;
  readonly user_id: string;
  readonly project_id: string;
  readonly section_id: string | null;
  readonly parent_id: string | null;
  readonly added_by_uid: string | null;
  readonly assigned_by_uid: string | null;
  readonly responsible_uid: string | null;
  readonly labels: readonly string[];
  readonly deadline: { readonly date: string; readonly lang: string } | null;
  readonly duration: { readonly amount: number; readonly unit: "minute" | "day" } | null;
  readonly checked: boolean;
  readonly is_deleted: boolean;
  readonly added_at: string;
  readonly completed_at: string | null;
  readonly updated_at: string;
  readonly due: EmulatedDue | null;
  readonly priority: number;
  readonly child_order: number;
  readonly content: string;
  readonly description: string;
  readonly day_order: number;
  readonly is_collapsed: boolean;
  readonly note_count: number;
}

/** What a client may set on a task. */
export interface ItemFields {
  readonly content?: string;
  readonly description?: string;
  readonly project_id?: string;
  readonly section_id?: string | null;
  readonly parent_id?: string | null;
  readonly priority?: number;
  readonly labels?: readonly string[];
  /** null takes it away. */
  readonly due?: { readonly string?: string; readonly date?: string; readonly timezone?: string | null } | null;
}

export type ItemEvent = "item:added" | "item:updated" | "item:completed" | "item:uncompleted" | "item:deleted";

export interface Change {
  readonly event: ItemEvent;
  readonly item: EmulatedItem;
  readonly extra?: { readonly old_item: EmulatedItem; readonly update_intent: string };
}

/** Todoist's error object. */
export class TodoistError extends Error {
  readonly body: { error: string; error_code: number; error_extra: object; error_tag: string; http_code: number };
  constructor(http_code: number, error_code: number, error_tag: string, error: string, error_extra: object = {}) {
    super(error);
    this.body = { error, error_code, error_extra, error_tag, http_code };
  }
}
export const invalidArgument = (argument: string, explanation = "Invalid value"): TodoistError =>
  new TodoistError(400, 20, "INVALID_ARGUMENT_VALUE", "Invalid argument value", { argument, explanation });
const notFound = (): TodoistError => new TodoistError(404, 22, "ITEM_NOT_FOUND", "Item not found");

/** The tasks of one account, and what a person or a client can do to them. */
export interface TodoistWorld {
  readonly account: SandboxAccount;
  readonly timeZone: string;
  readonly items: ChangeLog<EmulatedItem>;
  readonly projects: readonly { readonly id: string; readonly name: string }[];
  /** Every task that is not deleted, completed ones included, in the order they were added. */
  tasks(): EmulatedItem[];
  /** @throws TodoistError 404. */
  task(id: string): EmulatedItem;
  add(fields: ItemFields & { readonly content: string }, addedAt?: Date): EmulatedItem;
  update(id: string, fields: ItemFields): EmulatedItem;
  /** What a tick does: a recurring task moves on to its next occurrence, any other is completed. */
  close(id: string): EmulatedItem;
  /** Ends a recurring task too. */
  complete(id: string, completedAt?: Date): EmulatedItem;
  reopen(id: string): EmulatedItem;
  remove(id: string): void;
  /** Sync tokens given out so far are no longer accepted. */
  expireSyncTokens(): void;
  /** Everything, for {@link TodoistWorld.restore}. */
  snapshot(): unknown;
  restore(snapshot: unknown): void;
}

export interface WorldOptions {
  readonly account: SandboxAccount;
  readonly clock: SandboxClock;
  /** Signs sync tokens. */
  readonly key: string;
  readonly changed: (change: Change) => void;
}

const PROJECTS = ["Inbox", "Home", "Work", "Garden"] as const;

export function createWorld({ account, clock, key, changed }: WorldOptions): TodoistWorld {
  const items = createChangeLog<EmulatedItem>(key);
  const timeZone = "Europe/Warsaw";
  const projects = PROJECTS.map((name, index) => ({ id: todoistId("project", index), name }));
  let added = 0;
  const stamp = (): string => todoistTime(clock.now());
  const today = (): string => new Intl.DateTimeFormat("sv-SE", { timeZone }).format(clock.now());
  const task = (id: string): EmulatedItem => {
    const found = items.get(id);
    if (found === undefined || found.deleted) throw notFound();
    return found.value;
  };
  const put = (event: ItemEvent, item: EmulatedItem, extra?: Change["extra"]): EmulatedItem => {
    items.put(item.id, item);
    changed({ event, item, ...(extra === undefined ? {} : { extra }) });
    return item;
  };
  const checkPlace = ({ project_id, parent_id }: ItemFields): void => {
    if (project_id !== undefined && !projects.some(({ id }) => id === project_id)) throw invalidArgument("project_id");
    if (parent_id != null) task(parent_id);
  };
  const add = (fields: ItemFields & { readonly content: string }, addedAt = clock.now()): EmulatedItem => {
    checkPlace(fields);
    const now = todoistTime(addedAt);
    const item: EmulatedItem = {
      id: todoistId("item", added++),
      user_id: account.id,
      project_id: fields.project_id ?? projects[0]?.id ?? "",
      section_id: fields.section_id ?? null,
      parent_id: fields.parent_id ?? null,
      added_by_uid: account.id,
      assigned_by_uid: null,
      responsible_uid: null,
      labels: fields.labels ?? [],
      deadline: null,
      duration: null,
      checked: false,
      is_deleted: false,
      added_at: now,
      completed_at: null,
      updated_at: now,
      due: dueOf(fields.due ?? null, today()),
      priority: fields.priority ?? 1,
      child_order: added,
      content: checkContent(fields.content),
      description: fields.description ?? "",
      day_order: -1,
      is_collapsed: false,
      note_count: 0,
    };
    return put("item:added", item);
  };
  const update = (id: string, fields: ItemFields): EmulatedItem => {
    const old = task(id);
    checkPlace(fields);
    const { due, ...rest } = fields;
    if (rest.content !== undefined) checkContent(rest.content);
    const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
    const dated = due === undefined ? {} : { due: dueOf(due, today()) };
    const item = { ...old, ...given, ...dated, updated_at: stamp() };
    return put("item:updated", item, { old_item: old, update_intent: "item_updated" });
  };
  const complete = (id: string, completedAt = clock.now()): EmulatedItem => {
    const old = task(id);
    if (old.checked) return old;
    const at = todoistTime(completedAt);
    return put("item:completed", { ...old, checked: true, completed_at: at, updated_at: at });
  };
  return {
    account,
    timeZone,
    items,
    projects,
    tasks: () => items.live(),
    task,
    add,
    update,
    complete,
    close: (id) => {
      const old = task(id);
      if (old.due?.is_recurring !== true || old.checked) return complete(id);
      const item = { ...old, due: nextOccurrence(old.due, today()), updated_at: stamp() };
      return put("item:updated", item, { old_item: old, update_intent: "item_completed" });
    },
    reopen: (id) => {
      const old = task(id);
      if (!old.checked) return old;
      return put("item:uncompleted", { ...old, checked: false, completed_at: null, updated_at: stamp() });
    },
    remove: (id) => {
      const tombstone = { ...task(id), is_deleted: true, updated_at: stamp() };
      items.remove(id, tombstone);
      changed({ event: "item:deleted", item: tombstone });
    },
    expireSyncTokens: () => items.expireTokens(),
    snapshot: () => ({ added, items: items.snapshot() }),
    restore: (snapshot) => {
      const kept = snapshot as { added: number; items: unknown };
      ({ added } = kept);
      items.restore(kept.items);
    },
  };
}

const CONTENT_MAX = 500;

function checkContent(content: string): string {
  if (content.trim() === "" || content.length > CONTENT_MAX) throw invalidArgument("content");
  return content;
}

function dueOf(due: NonNullable<ItemFields["due"]> | null, today: string): EmulatedDue | null {
  if (due === null) return null;
  if (due.date !== undefined && due.string === undefined) {
    if (!/^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ?)?$/.test(due.date)) throw invalidArgument("due");
    return { date: due.date, timezone: due.timezone ?? null, string: due.date, lang: "en", is_recurring: false };
  }
  const parsed = parseDue(due.string ?? "", today);
  if (parsed === undefined) throw invalidArgument("due", "This sandbox knows only a few phrases; see its README");
  return parsed;
}

/** Microseconds, as Todoist writes them. */
export const todoistTime = (date: Date): string => date.toISOString().replace("Z", "000Z");

/** Opaque, 16 letters and digits, the same in every run. */
function todoistId(kind: string, index: number): string {
  return createHash("sha256").update(`${kind} ${index}`).digest("base64").replaceAll(/[+/=]/g, "").slice(0, 16);
}
