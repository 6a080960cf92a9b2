import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { type DueSchema, Priority, type TaskSchema } from "@tributary/contracts";
import { clockIn, instantOf } from "@tributary/sdk";
import type { Due, Item } from "./schemas.ts";

/**
 * Todoist's item in the words that every to-do provider shares.
 * @param timeZone the person's own, IANA; what a due time without a zone is read in.
 */
export function taskOf(item: Item, timeZone: string): MessageInitShape<typeof TaskSchema> {
  return {
    id: item.id,
    title: item.content,
    description: item.description ?? "",
    ...(item.due == null ? {} : { due: dueOf(item.due, timeZone) }),
    priority: PRIORITIES.get(item.priority) ?? Priority.UNSPECIFIED,
    labels: item.labels ?? [],
    projectId: item.project_id ?? "",
    parentId: item.parent_id ?? "",
    assigneeId: item.responsible_uid ?? "",
    ...(item.added_at == null ? {} : { createdAt: timestampFromDate(item.added_at) }),
    ...(item.updated_at == null ? {} : { updatedAt: timestampFromDate(item.updated_at) }),
  };
}

/** Todoist's 4 is what its pages call priority 1, the most urgent. */
const PRIORITIES: ReadonlyMap<number, Priority> = new Map([
  [1, Priority.NORMAL],
  [2, Priority.MEDIUM],
  [3, Priority.HIGH],
  [4, Priority.URGENT],
]);

/** What Todoist wants for a priority of ours. */
export const PRIORITY_NUMBERS = { normal: 1, medium: 2, high: 3, urgent: 4 } as const;

function dueOf(due: Due, timeZone: string): MessageInitShape<typeof DueSchema> {
  const recurrence = due.is_recurring ? { recurrence: { rule: due.string ?? "", language: due.lang ?? "" } } : {};
  if (!due.date.includes("T")) return { date: due.date, ...recurrence };
  if (!due.date.endsWith("Z"))
    return { date: due.date.slice(0, 10), time: timestampFromDate(instantOf(due.date, timeZone)), ...recurrence };
  const instant = new Date(due.date);
  const zone = due.timezone ?? "";
  const date = clockIn(zone === "" ? timeZone : zone, instant).slice(0, 10);
  return { date, time: timestampFromDate(instant), timeZone: zone, ...recurrence };
}
