import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { TaskChangedSchema, TaskCompletedSchema, TaskDeletedSchema, TaskReopenedSchema } from "@tributary/contracts";
import { type Signal, signal, type User } from "@tributary/sdk";
import type { Item, Tombstone } from "./schemas.ts";
import { taskOf } from "./task.ts";

/** Oldest first. */
export const signalsOf = (user: User, items: readonly (Item | Tombstone)[], timeZone: string): Signal[] =>
  items
    .map((item) => signalOf(user, item, timeZone))
    .toSorted((one, other) => one.occurredAt.getTime() - other.occurredAt.getTime());

/**
 * Only a completion has a revision of Todoist's own, the time of it: history and sync show one completion with different
 * other fields. `updated_at` is no revision: it may be missing, and nothing promises that reopening moves it.
 */
function signalOf(user: User, item: Item | Tombstone, timeZone: string): Signal {
  const { id } = item;
  const occurredAt = item.updated_at ?? user.now();
  if (item.is_deleted) return signal(TaskDeletedSchema, { id, occurredAt, data: { taskId: id } });
  const task = taskOf(item, timeZone);
  if (!item.checked) {
    const transition = { from: TaskCompletedSchema, as: TaskReopenedSchema };
    return signal(TaskChangedSchema, { id, occurredAt, data: { task }, transition });
  }
  const at = item.completed_at ?? occurredAt;
  const revision = item.completed_at == null ? {} : { revision: at.toISOString() };
  return signal(TaskCompletedSchema, {
    id,
    ...revision,
    occurredAt: at,
    data: { task, completedAt: timestampFromDate(at) },
  });
}
