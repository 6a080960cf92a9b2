import type { EmulatedItem, TodoistWorld } from "./emulator-world.ts";

/**
 * What the simulated person does so that an event of a type comes about, by the type's full name. Answers what was
 * done, in a sentence; undefined when nothing in the account lends itself to it.
 */
export const todoistTriggers: Readonly<Record<string, (world: TodoistWorld) => string | undefined>> = {
  "tributary.task.v1.TaskChanged": (world) => {
    const { content } = world.add({ content: "Try the new task", description: "Added to see an event" });
    return `Added "${content}".`;
  },
  "tributary.task.v1.TaskCompleted": (world) => on(world, ({ checked }) => !checked, "Completed", world.complete),
  "tributary.task.v1.TaskReopened": (world) => on(world, ({ checked }) => checked, "Reopened", world.reopen),
  "tributary.task.v1.TaskDeleted": (world) => on(world, ({ checked }) => !checked, "Deleted", world.remove),
};

/** The newest task that will do: those that came with the account stay for a demonstration. */
function on(
  world: TodoistWorld,
  fits: (task: EmulatedItem) => boolean,
  did: string,
  change: (id: string) => unknown,
): string | undefined {
  const task = world.tasks().findLast(fits);
  if (task === undefined) return undefined;
  change(task.id);
  return `${did} "${task.content}".`;
}
