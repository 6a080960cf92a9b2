import { setTimeout as sleep } from "node:timers/promises";
import type { Hub } from "../hub.ts";
import type { Progress } from "../progress.ts";
import { createVisitor } from "./visitor.ts";
import type { SampleSubscriber } from "./sample-subscriber.ts";

/** What `--json` prints last. */
export interface DemoResult {
  /** Events in the ledger for the subscriber. */
  readonly published: number;
  /** Effects that the sample subscriber had. */
  readonly delivered: number;
  /** Effects that happened more than once for one event. */
  readonly duplicates: number;
  readonly deadLetters: number;
  /** From the start of this process to the first event in the subscriber's hands; null when nothing new came. */
  readonly firstEventMs: number | null;
  readonly steps: readonly { readonly name: string; readonly ms: number }[];
}

const WAIT_MS = 30_000;

/**
 * The whole road, as its users walk it: a person signs in and links an account by real redirects; a subscriber receives
 * what there is; a task is completed from our side, and the change comes back as an event. Started again on the same
 * data it goes on where it was, wherever it was killed.
 */
export async function runDemo(hub: Hub, subscriber: SampleSubscriber, progress: Progress): Promise<DemoResult> {
  const steps: { name: string; ms: number }[] = [];
  const timed = async <T>(name: string, what: string, work: () => Promise<T>): Promise<T> => {
    progress.step(what);
    const startedAt = performance.now();
    const result = await work();
    steps.push({ name, ms: Math.round(performance.now() - startedAt) });
    return result;
  };
  const visitor = createVisitor(hub.origin);
  const person = await timed("sign-in", "Signing a sample person in", () => visitor.signIn());
  progress.done(`${person} signed in through the OpenID provider`);
  const { linked, connection } = await timed("link", "Linking the person's Todoist account", () =>
    visitor.link("todoist", "Todoist"),
  );
  progress.done(
    linked
      ? `Linked Todoist (${connection.account}) through its consent page`
      : `Todoist (${connection.account}) is linked already`,
  );
  await timed("sync", "Reading the account", () => visitor.untilRead(connection, WAIT_MS));
  await timed("deliver", "Delivering", () => untilDelivered(subscriber));
  progress.done(`${(await subscriber.totals()).delivered} events delivered to the sample subscriber`);
  const task = await timed("act", "Completing a task from our side", () => visitor.completeTask(connection.id));
  await timed("return", "Waiting for the change to come back", () =>
    subscriber.until("tributary.task.v1.TaskCompleted", `task/${task.id}`, task.since, WAIT_MS),
  );
  progress.done("Completed a task at Todoist, and received the change as TaskCompleted");
  await visitor.act(connection.id, "task.reopen", task.id);
  await timed("undo", "Opening it again", () =>
    subscriber.until("tributary.task.v1.TaskReopened", `task/${task.id}`, task.since, WAIT_MS),
  );
  await untilDelivered(subscriber);
  const totals = await subscriber.totals();
  progress.done(
    `${totals.published} published, ${totals.delivered} delivered, ${totals.duplicates} twice, ${totals.deadLetters} given up`,
  );
  return { ...totals, firstEventMs: subscriber.firstEventMs(), steps };
}

async function untilDelivered(subscriber: SampleSubscriber): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (performance.now() < deadline) {
    const { published, delivered, deadLetters } = await subscriber.totals();
    if (published > 0 && published === delivered + deadLetters) return;
    await sleep(20);
  }
  throw new Error(`not everything was delivered within ${WAIT_MS / 1000} s`);
}
