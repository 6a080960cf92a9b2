import { TokenRefused } from "@tributary/sandbox";
import { z } from "zod";
import {
  type EmulatedItem,
  invalidArgument,
  type ItemFields,
  TodoistError,
  type TodoistWorld,
  todoistTime,
} from "./emulator-world.ts";

const Fields = z.object({
  content: z.string().optional(),
  description: z.string().max(16_383).optional(),
  project_id: z.string().optional(),
  section_id: z.string().nullish(),
  parent_id: z.string().nullish(),
  priority: z.number().int().min(1).max(4).optional(),
  labels: z.array(z.string()).optional(),
  due: z
    .object({ string: z.string().optional(), date: z.string().optional(), timezone: z.string().nullish() })
    .nullish(),
});
const Command = z.object({
  type: z.string(),
  uuid: z.uuid(),
  temp_id: z.string().optional(),
  args: z.record(z.string(), z.unknown()),
});
type Command = z.infer<typeof Command>;
const Commands = z.array(Command);
const Names = z.array(z.string());

type CommandStatus = "ok" | TodoistError["body"];

/** Commands by `uuid`, so that one that comes again is not executed again. */
export type ExecutedCommands = Map<string, { readonly temp_id: string | undefined; readonly id: string | undefined }>;

const COMMANDS_MAX = 100;
const EXECUTED_MAX = 10_000;

export interface SyncRequest {
  readonly sync_token?: unknown;
  readonly resource_types?: unknown;
  readonly commands?: unknown;
}

/** @returns the scopes that a sync request needs: reading, writing, deleting. */
export function scopesOf({ commands, sync_token }: SyncRequest): string[] {
  const types = Commands.safeParse(commands ?? []).data?.map(({ type }) => type) ?? [];
  return [
    ...(sync_token === undefined ? [] : ["data:read"]),
    ...types.map((type) =>
      type === "item_delete" ? "data:delete" : type === "item_add" ? "task:add" : "data:read_write",
    ),
  ];
}

/** POST /sync: first the commands, then what changed since the token, theirs included. */
export function syncAnswer(world: TodoistWorld, executed: ExecutedCommands, request: SyncRequest, now: Date): object {
  const commands = Commands.safeParse(request.commands ?? []);
  if (!commands.success || commands.data.length > COMMANDS_MAX) throw invalidArgument("commands");
  const sync_status: Record<string, CommandStatus> = {};
  const temp_id_mapping: Record<string, string> = {};
  const token = request.sync_token;
  // A bad token refuses the whole request, before any of its commands has an effect.
  const since = typeof token === "string" && token !== "*" ? read(world, token) : 0;
  for (const command of commands.data) {
    sync_status[command.uuid] = execute(world, executed, command);
    const done = executed.get(command.uuid);
    if (done?.temp_id !== undefined && done.id !== undefined) temp_id_mapping[done.temp_id] = done.id;
  }
  if (token !== undefined && typeof token !== "string") throw invalidArgument("sync_token");
  const resources = token === undefined ? {} : changes(world, request.resource_types, token === "*", since, now);
  return { ...resources, sync_status, temp_id_mapping };
}

function read(world: TodoistWorld, token: string): number {
  try {
    return world.items.read(token, "");
  } catch (error) {
    if (error instanceof TokenRefused) throw invalidArgument("sync_token", "Sync token is invalid or expired");
    throw error;
  }
}

/** A full answer has only active tasks: what was completed or deleted shows in later, incremental ones alone. */
function changes(world: TodoistWorld, types: unknown, full: boolean, since: number, now: Date): object {
  const names = Names.safeParse(types ?? []);
  if (!names.success) throw invalidArgument("resource_types");
  const wants = (name: string): boolean =>
    (names.data.includes(name) || names.data.includes("all")) && !names.data.includes(`-${name}`);
  const items: EmulatedItem[] = full
    ? world.tasks().filter(({ checked }) => !checked)
    : world.items.changedSince(since).map(({ value }) => value);
  return {
    sync_token: world.items.token(""),
    full_sync: full,
    ...(full ? { full_sync_date_utc: todoistTime(now) } : {}),
    ...(wants("items") ? { items } : {}),
    ...(wants("projects") ? { projects: full ? projectsOf(world, now) : [] } : {}),
    ...(wants("labels") ? { labels: full ? labelsOf(world) : [] } : {}),
    ...(wants("user") && full ? { user: syncUserOf(world) } : {}),
  };
}

function execute(world: TodoistWorld, executed: ExecutedCommands, command: Command): CommandStatus {
  if (executed.has(command.uuid)) return "ok";
  try {
    const id = effect(world, executed, command);
    const oldest = executed.size >= EXECUTED_MAX ? executed.keys().next().value : undefined;
    if (oldest !== undefined) executed.delete(oldest);
    executed.set(command.uuid, { temp_id: command.temp_id, id });
    return "ok";
  } catch (error) {
    if (error instanceof TodoistError) return error.body;
    throw error;
  }
}

/** @returns the id of what was made. */
function effect(world: TodoistWorld, executed: ExecutedCommands, { type, args }: Command): string | undefined {
  const target = (): string => {
    if (typeof args["id"] !== "string") throw invalidArgument("id");
    const made = [...executed.values()].find(({ temp_id }) => temp_id === args["id"]);
    return made?.id ?? args["id"];
  };
  switch (type) {
    case "item_add": {
      const fields = fieldsOf(args);
      return world.add({ ...fields, content: fields.content ?? "" }).id;
    }
    case "item_update":
      return void world.update(target(), fieldsOf(args));
    case "item_complete": {
      const at = args["completed_at"];
      return void world.complete(target(), typeof at === "string" ? new Date(at) : undefined);
    }
    case "item_uncomplete":
      return void world.reopen(target());
    case "item_close":
      return void world.close(target());
    case "item_delete":
      world.remove(target());
      return undefined;
    default:
      throw new TodoistError(400, 36, "INVALID_COMMAND", "Unknown command");
  }
}

export function fieldsOf(args: unknown): ItemFields {
  const fields = Fields.safeParse(args);
  if (!fields.success) throw invalidArgument(String(fields.error.issues[0]?.path[0] ?? "args"));
  return fields.data as ItemFields;
}

const projectsOf = (world: TodoistWorld, now: Date): object[] =>
  world.projects.map(({ id, name }, index) => ({
    id,
    name,
    can_assign_tasks: false,
    child_order: index,
    color: "charcoal",
    created_at: todoistTime(now),
    is_archived: false,
    is_deleted: false,
    is_favorite: false,
    is_frozen: false,
    updated_at: todoistTime(now),
    view_style: "list",
    default_order: 0,
    description: "",
    is_collapsed: false,
    is_shared: false,
    parent_id: null,
    inbox_project: index === 0,
  }));

const labelsOf = (world: TodoistWorld): object[] =>
  [...new Set(world.tasks().flatMap(({ labels }) => labels))].toSorted().map((name, order) => ({
    id: String(2_000_000 + order),
    name,
    color: "blue",
    order,
    is_favorite: false,
    is_deleted: false,
  }));

/** GET /user. */
export const userOf = ({ account, projects, timeZone }: TodoistWorld): object => ({
  id: account.id,
  email: account.email,
  full_name: account.name,
  business_account_id: null,
  is_premium: false,
  premium_status: "not_premium",
  date_format: 0,
  time_format: 0,
  weekly_goal: 25,
  daily_goal: 5,
  completed_count: 0,
  completed_today: 0,
  karma: 0,
  karma_trend: "-",
  lang: "en",
  next_week: 1,
  start_day: 1,
  start_page: "today",
  tz_info: { gmt_string: "+01:00", hours: 1, is_dst: 0, minutes: 0, timezone: timeZone },
  inbox_project_id: projects[0]?.id ?? "",
  days_off: [6, 7],
  weekend_start_day: 6,
});

/** The sync resource "user": more fields than GET /user. */
const syncUserOf = (world: TodoistWorld): object => ({
  ...userOf(world),
  activated_user: true,
  auto_reminder: 0,
  feature_identifier: `${world.account.id}_sandbox`,
  features: {
    karma_disabled: false,
    restriction: 0,
    karma_vacation: false,
    dateist_lang: null,
    beta: 0,
    has_push_reminders: false,
    dateist_inline_disabled: false,
  },
  has_magic_number: false,
  has_password: true,
  image_id: null,
  is_celebrations_enabled: true,
  joinable_workspace: null,
  joined_at: "2024-01-01T00:00:00.000000Z",
  getting_started_guide_projects: null,
  premium_until: null,
  share_limit: 5,
  sort_order: 0,
  theme_id: "11",
  unique_prefix: 1,
  verification_status: "verified",
  websocket_url: "wss://sandbox.invalid/",
});
