import { TaskCompletedSchema } from "@tributary/contracts";
import { setTimeout as sleep } from "node:timers/promises";
import { subscribe } from "../index.ts";

/** A program as somebody would write it: it ends when it is told to, after what it has begun. */
const [url = "", token = ""] = process.argv.slice(2);
const subscription = await subscribe({ url, token, name: "draining", drainOn: ["SIGTERM"] })
  .on(TaskCompletedSchema, async (_, { sequence }) => {
    process.stdout.write(`begun ${sequence}\n`);
    await sleep(300);
    process.stdout.write(`done ${sequence}\n`);
  })
  .start();
await subscription.done;
process.stdout.write("stopped\n");
