import { openPostgres } from "@tributary/db";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createHandOff } from "../hand-off.ts";
import { startRelay } from "../relay.ts";

// A relay alone in a process: `node relay-process.ts <database url> <broker url>`. Says "leading" once, and runs until killed.
const [url = "", servers = ""] = process.argv.slice(2);
const database = openPostgres({ url });
await database.confine();
const handOff = await createHandOff({ database, process: randomUUID() });
const relay = startRelay({ database, handOff, servers });
while (relay.status().state !== "leading") await sleep(10);
process.stdout.write("leading\n");
await new Promise(() => setInterval(() => {}, 60_000));
