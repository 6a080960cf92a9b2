import { type EmulatorParts, type Html, page } from "@tributary/sandbox";
import type { Context, Hono } from "hono";
import { html } from "hono/html";
import { type EmulatedItem, TodoistError, type TodoistWorld } from "./emulator-world.ts";

/** The page on which whoever tries this out is the person: they tick, add and delete, and the connector hears of it. */
export function personPage(app: Hono, { origin }: Pick<EmulatorParts, "origin">, world: () => TodoistWorld): void {
  app.get("/", () => tasksPage(world()));
  app.post("/person", async (c) => {
    if (isForeign(c, origin())) return c.body(null, 403);
    const form = new URLSearchParams(await c.req.text());
    try {
      act(world(), form);
    } catch (error) {
      if (!(error instanceof TodoistError)) throw error;
      return page({
        provider: "Todoist",
        title: "That did not work",
        status: 400,
        content: html`<p>${error.message}.</p>
          <p><a href="/">Back to the tasks</a></p>`,
      });
    }
    return c.redirect("/", 303);
  });
}

/** Another site's page must not act here, though nothing here is worth it. */
const isForeign = (c: Context, own: string): boolean => {
  const from = c.req.header("origin");
  return from !== undefined && from !== own && c.req.header("sec-fetch-site") !== "same-origin";
};

function act(world: TodoistWorld, form: URLSearchParams): void {
  const id = form.get("id") ?? "";
  const due = form.get("due") ?? "";
  switch (form.get("act")) {
    case "complete":
      return void world.close(id);
    case "reopen":
      return void world.reopen(id);
    case "delete":
      return world.remove(id);
    case "add":
      return void world.add({
        content: form.get("content") ?? "",
        priority: Math.min(4, Math.max(1, Number(form.get("priority")) || 1)),
        ...(due === "" ? {} : { due: { string: due } }),
      });
    default:
  }
}

const SHOWN_MAX = 200;

function tasksPage(world: TodoistWorld): Promise<Response> {
  const all = world.tasks();
  const open = all.filter(({ checked }) => !checked);
  const completed = all
    .filter(({ checked }) => checked)
    .toSorted((one, other) => (other.completed_at ?? "").localeCompare(one.completed_at ?? ""));
  const list = (tasks: readonly EmulatedItem[], actions: readonly string[]): Html =>
    html`<ul class="tasks">
      ${tasks.slice(0, SHOWN_MAX).map((task) => row(world, task, actions))}
    </ul>`;
  return page({
    provider: "Todoist",
    title: `${world.account.name}'s tasks`,
    content: html`<p>
        You are ${world.account.name} here. What you do reaches every app that this account is connected to.
      </p>
      <form method="post" action="/person">
        <label>New task <input name="content" required maxlength="500" autocomplete="off" /></label>
        <label
          >Due <small id="due-words">For example: today, tomorrow at 9, every monday, 2030-01-31</small>
          <input name="due" maxlength="100" autocomplete="off" aria-describedby="due-words" />
        </label>
        <label
          >Priority
          <select name="priority">
            <option value="4">1, urgent</option>
            <option value="3">2</option>
            <option value="2">3</option>
            <option value="1" selected>4</option>
          </select>
        </label>
        <p><button class="primary" name="act" value="add">Add task</button></p>
      </form>
      <h2>Open (${open.length})</h2>
      ${list(open, ["complete", "delete"])}
      <h2>Completed (${completed.length})</h2>
      ${list(completed, ["reopen", "delete"])}`,
  });
}

const LABELS: Readonly<Record<string, string>> = { complete: "Complete", reopen: "Reopen", delete: "Delete" };

function row(world: TodoistWorld, task: EmulatedItem, actions: readonly string[]): Html {
  const project = world.projects.find(({ id }) => id === task.project_id)?.name;
  const facts = [
    project,
    task.due === null ? undefined : `due ${task.due.date.replace("T", " ")}`,
    task.due?.is_recurring === true ? task.due.string : undefined,
    task.priority > 1 ? `priority ${5 - task.priority}` : undefined,
    ...task.labels.map((label) => `@${label}`),
  ];
  return html`<li>
    <span>${task.content} <small>${facts.filter((fact) => fact !== undefined).join(" · ")}</small></span>
    <form class="inline" method="post" action="/person">
      <input type="hidden" name="id" value="${task.id}" />
      ${actions.map(
        (action) =>
          html`<button name="act" value="${action}" aria-label="${LABELS[action]}: ${task.content}">
            ${LABELS[action]}
          </button>`,
      )}
    </form>
  </li>`;
}
