import { type Plant, PLANTS } from "../crash/plants.ts";

type SimPlant = Omit<Plant, "trial">;

/** Bugs of the crash harness that need neither broker nor relay to show. */
const SHARED = [
  "cursor-first",
  "two-transactions",
  "no-lease-check",
  "object-state-ignored",
  "append-apart",
  "lease-kept",
  "inbox-apart",
];

const OWN: readonly SimPlant[] = [
  {
    id: "checkpoint-early",
    means: "the connector yields its checkpoint before the changes that it stands for",
    file: "packages/connectors/src/todoist/connector.ts",
    find: "    yield* signalsOf(user, page.items, timeZone);\n    yield checkpoint({ syncToken: page.sync_token, timeZone });",
    replace:
      "    yield checkpoint({ syncToken: page.sync_token, timeZone });\n    yield* signalsOf(user, page.items, timeZone);\n    yield checkpoint({ syncToken: page.sync_token, timeZone });",
  },
  {
    id: "inbox-forgotten",
    means: "the inbox runs the effect whether it knows the event or not",
    file: "packages/subscriber/src/postgres-inbox.ts",
    find: "        if ((await run(tx, record, [consumer, key])).length === 0) return false;\n",
    replace: "        await run(tx, record, [consumer, key]);\n",
  },
];

/** What the simulation has to notice: `npm run sim -- --planted`. */
export const SIM_PLANTS: readonly SimPlant[] = [...OWN, ...PLANTS.filter(({ id }) => SHARED.includes(id))];
