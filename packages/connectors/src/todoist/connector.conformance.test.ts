import { TaskChangedSchema, TaskCompletedSchema, TaskDeletedSchema, TaskReopenedSchema } from "@tributary/contracts";
import { testConnector } from "@tributary/conformance";
import { randomUUID } from "node:crypto";
import { emulators, todoistAccount } from "../emulators.ts";
import { todoist } from "./connector.ts";

testConnector(todoist, emulators.todoist, {
  accountId: todoistAccount.id,
  add: (world) => world.add({ content: "Buy bread" }).id,
  added: TaskChangedSchema,
  deeds: [
    { name: "changing", does: (world, id) => world.update(id, { content: "Buy rye bread" }), gives: TaskChangedSchema },
    { name: "completing", does: (world, id) => world.close(id), gives: TaskCompletedSchema },
    { name: "reopening", does: (world, id) => world.reopen(id), gives: TaskReopenedSchema },
    { name: "completing again", does: (world, id) => world.close(id), gives: TaskCompletedSchema },
    { name: "deleting", does: (world, id) => world.remove(id), gives: TaskDeletedSchema, deletes: true },
  ],
  expireCursor: (world) => world.expireSyncTokens(),
  actions: [
    {
      type: "task.create",
      input: () => ({ title: `Call ${randomUUID()}` }),
      effects: (world, input) =>
        world.tasks().filter(({ content }) => content === (input as { title: string }).title).length,
      refused: { title: "Somewhere else", projectId: "no-such-project" },
    },
    {
      type: "task.complete",
      input: (world) => ({ id: world.add({ content: "Water the fern" }).id }),
      effects: (world, input) => Number(world.task((input as { id: string }).id).checked),
      refused: { id: "no-such-task" },
    },
    {
      type: "task.reopen",
      input: (world) => ({ id: world.complete(world.add({ content: "Water the palm" }).id).id }),
      effects: (world, input) => Number(!world.task((input as { id: string }).id).checked),
      refused: { id: "no-such-task" },
    },
  ],
});
