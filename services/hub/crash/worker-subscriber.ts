import { TaskChangedSchema, TaskCompletedSchema } from "@tributary/contracts";
import { openPostgres, run } from "@tributary/db";
import { drop, type EventContext, postgresInbox, retry, subscribe } from "@tributary/subscriber";
import { DEATH, deathsOf, HUB_KEY } from "./agreed.ts";
import { watchedDatabase } from "./watch.ts";
import type { WorkerParts } from "./worker.ts";

const EFFECT = `INSERT INTO crash.effect (connection_id, change, event_id, sequence, replay_id, redrive)
VALUES ($1, $2, $3, $4, $5, $6)`;

interface Tx {
  query(text: string, parameters: unknown[]): Promise<{ rows: object[] }>;
}

/** A service whose effects are rows, each written together with its inbox's. */
export async function startSubscriber({ settings, tripwire, closing, told, untilItWorks }: WorkerParts): Promise<void> {
  const opened = openPostgres({ url: settings.databaseUrl, connectionsMax: 8 });
  closing.push(["the database", () => opened.close()]);
  const database = watchedDatabase(opened, tripwire);
  const inbox = postgresInbox<Tx>({
    consumer: "crash",
    table: "crash.inbox",
    transaction: (work) =>
      database.transaction((tx) =>
        work({ query: async (text, parameters) => ({ rows: await run<object>(tx, text, parameters) }) }),
      ),
  });
  const handle = async ({ task }: { task?: { title: string } | undefined }, context: EventContext<Tx>) => {
    const { connectionId, id, sequence, replayId = "", redrive = 0, tx } = context;
    // What a writer appends has no number of its own.
    const change = Number.parseInt(task?.title ?? "", 10) || Number(sequence);
    if (settings.mortal === true && redrive < deathsOf(change)) throw drop(DEATH);
    // Now and then a service fails, and what follows in its connection waits.
    if (change % 41 === 0 && context.attempt === 1) throw retry(20);
    await tx.query(EFFECT, [connectionId, change, id, sequence, replayId, redrive]);
  };
  const subscription = await untilItWorks(() =>
    subscribe<Tx>({
      url: settings.hubUrl ?? settings.natsUrl ?? "",
      ...(settings.hubUrl === undefined ? {} : { token: HUB_KEY }),
      name: "crash",
      inbox,
      window: 500,
      ackWaitMs: 1_000,
      attemptsMax: 1_000_000,
      backoffMs: { first: 20, longest: 500 },
    })
      .on(TaskChangedSchema, handle)
      .on(TaskCompletedSchema, handle)
      .start(),
  );
  told.stats = () => subscription.stats();
  closing.push(["the subscription", () => subscription.stop(2_000)]);
}
