import {
  type Action,
  type ActionResult,
  type ConnectorError,
  ContractViolation,
  Rejected,
  Retryable,
  type User,
} from "@tributary/sdk";
import { call, pause } from "./api.ts";
import { type CommandError, CommandResult, NewTask, TaskRef } from "./schemas.ts";
import { PRIORITY_NUMBERS } from "./task.ts";

/** An action as a sync command. Todoist does not execute a command again whose `uuid` it has seen. */
export async function command(user: User, action: Action): Promise<ActionResult> {
  const uuid = action.idempotencyKey;
  const { type, args, id } = commandOf(action);
  // `temp_id` asks for the id of what was made, so only a command that makes something has one.
  const form = { commands: JSON.stringify([{ type, uuid, temp_id: id === undefined ? uuid : undefined, args }]) };
  const result = await call(user, CommandResult, "/sync", { method: "POST", form });
  const status = result.sync_status[uuid];
  if (status === undefined) throw new ContractViolation("Todoist did not say what became of the command.");
  if (status !== "ok") throw commandError(status);
  const actedOn = id ?? result.temp_id_mapping[uuid];
  return actedOn === undefined ? {} : { id: actedOn };
}

/** `item_close` does what the person's own tick does: a recurring task moves on, any other is completed. */
function commandOf({ type, input }: Action): { readonly type: string; readonly args: object; readonly id?: string } {
  switch (type) {
    case "task.complete":
    case "task.reopen": {
      const args = TaskRef.parse(input);
      return { type: type === "task.complete" ? "item_close" : "item_uncomplete", args, id: args.id };
    }
    case "task.create": {
      const { title: content, due, priority, projectId, ...args } = NewTask.parse(input);
      return {
        type: "item_add",
        // What is undefined does not get into the JSON.
        args: {
          ...args,
          content,
          due: due === undefined ? undefined : { string: due },
          priority: priority === undefined ? undefined : PRIORITY_NUMBERS[priority],
          project_id: projectId,
        },
      };
    }
    default:
      throw new Rejected("Todoist has no such action.");
  }
}

/** Errors of commands come inside a 200. Their text is Todoist's and may quote the input, so it goes no further. */
function commandError({ http_code, error_code, error_extra }: CommandError): ConnectorError {
  if (error_extra?.retry_after !== undefined) return pause(error_extra.retry_after);
  if ((http_code ?? 400) >= 500) return new Retryable("Todoist could not do it right now.");
  if (http_code === 404) return new Rejected("Todoist knows no such task.");
  if (http_code === 403) return new Rejected("Todoist does not allow this.");
  return new Rejected(`Todoist refused it${error_code == null ? "" : ` (error ${error_code})`}.`);
}
