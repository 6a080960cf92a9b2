import { z } from "zod";

/**
 * What is read of Todoist's answers, API v1. Fields that no event carries are not looked at, so that they may change.
 * Shapes: https://developer.todoist.com/api/v1/ and the parser of `@doist/todoist-sdk` 17.
 */
const Instant = z.string().pipe(z.coerce.date());

const Due = z.object({
  /** A day, a floating time without an offset, or an instant that ends in "Z". */
  date: z.string().regex(/^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?Z?)?$/),
  timezone: z.string().nullish(),
  string: z.string().nullish(),
  lang: z.string().nullish(),
  is_recurring: z.boolean(),
});
export type Due = z.infer<typeof Due>;

export const Item = z.object({
  id: z.string().min(1).max(512),
  is_deleted: z.literal(false),
  checked: z.boolean(),
  content: z.string(),
  description: z.string().nullish(),
  due: Due.nullish(),
  priority: z.number(),
  labels: z.array(z.string()).nullish(),
  project_id: z.string().nullish(),
  parent_id: z.string().nullish(),
  responsible_uid: z.string().nullish(),
  added_at: Instant.nullish(),
  updated_at: Instant.nullish(),
  completed_at: Instant.nullish(),
});
export type Item = z.infer<typeof Item>;

/** What is left of a deleted task; only these fields are relied on. */
const Tombstone = z.object({
  id: z.string().min(1).max(512),
  is_deleted: z.literal(true),
  updated_at: Instant.nullish(),
});
export type Tombstone = z.infer<typeof Tombstone>;

export const SyncPage = z.object({
  sync_token: z.string().min(1).max(2000),
  full_sync: z.boolean(),
  items: z.array(z.discriminatedUnion("is_deleted", [Item, Tombstone])).default([]),
  /** Whole in a full sync; afterwards only when something about the person changed. */
  user: z.object({ tz_info: z.object({ timezone: z.string() }) }).optional(),
});
export type SyncPage = z.infer<typeof SyncPage>;

export const CompletedPage = z.object({ items: z.array(Item), next_cursor: z.string().nullish() });

export const Person = z.object({ id: z.string().min(1).max(200), email: z.string() });

const CommandError = z.object({
  error_code: z.number().nullish(),
  http_code: z.number().nullish(),
  error_extra: z.object({ retry_after: z.number().optional() }).nullish(),
});
export type CommandError = z.infer<typeof CommandError>;

export const CommandResult = z.object({
  sync_status: z.record(z.string(), z.union([z.literal("ok"), CommandError])),
  temp_id_mapping: z.record(z.string(), z.string()).default({}),
});

const NOTHING_SAID = { error: "", error_extra: {} };
/** The body of a refusal. Takes anything: where it says nothing, the status decides. */
export const Refusal = z
  .object({
    error: z.string().catch(""),
    error_extra: z
      .object({
        argument: z.string().optional().catch(undefined),
        retry_after: z.number().min(0).optional().catch(undefined),
      })
      .catch({}),
  })
  .catch(NOTHING_SAID);

export const DeliveryBody = z.object({ user_id: z.union([z.string(), z.number()]).transform(String) });

/** Input of the actions. */
export const TaskRef = z.strictObject({ id: z.string().min(1).max(100) });
export const NewTask = z.strictObject({
  title: z.string().min(1).max(500),
  description: z.string().max(16_383).optional(),
  /** In words that Todoist understands: "tomorrow at 9", "every Monday". */
  due: z.string().min(1).max(150).optional(),
  priority: z.enum(["normal", "medium", "high", "urgent"]).optional(),
  labels: z.array(z.string().min(1).max(60)).max(100).optional(),
  projectId: z.string().min(1).max(100).optional(),
});
