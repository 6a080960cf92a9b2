// A hub in a process of its own, so that all it writes can be read; the test that forked it asks for what no setting and
// no route can do. Every token of its providers starts with TOKEN_PREFIX.
import { connectors } from "@tributary/connectors";
import { keySourceOf, readConfig } from "../src/config.ts";
import { startHub } from "../src/hub.ts";
import { plantSecrets } from "./plant-secrets.ts";
import { rowsIn } from "./stored-rows.ts";

const config = readConfig(
  process.env,
  connectors.map(({ id }) => id),
);
if (config.sandbox === undefined) throw new Error("the providers have to be simulated");
const tokenPrefix = process.env["TOKEN_PREFIX"] ?? "";
const hub = await startHub({ ...config, sandbox: { ...config.sandbox, tokenPrefix } });
const { sandbox } = hub;
const control = sandbox?.running.todoist.control;
if (sandbox === undefined || control?.oauth === undefined) throw new Error("there is no simulated Todoist");
const { faults, journal } = control;
const { tokens } = control.oauth;

const ORDERS = {
  expire: () => tokens.expire(),
  live: () => tokens.live,
  fail: (fault: NonNullable<ReturnType<typeof faults.take>>) => faults.add(fault),
  counted: (what: string) => journal.counted(what),
  rows: () => rowsIn(hub.database),
  plant: (secrets: number) =>
    plantSecrets(
      { database: hub.database, keys: keySourceOf(config), origin: hub.origin, sandbox, tokenPrefix },
      secrets,
    ),
  addTask: (title: string) => void control.world.add({ content: title }),
  stop: () => hub.stop(),
};
/** What can be asked for, by name; every answer is a promise on the other side. */
export type Orders = typeof ORDERS;

process.on("message", ({ id, order, argument }: { id: number; order: keyof Orders; argument: never }) => {
  void Promise.resolve(ORDERS[order](argument)).then((answer) =>
    process.send?.({ id, answer }, () => order === "stop" && process.disconnect()),
  );
});
process.send?.({ id: 0, answer: hub.origin });
