// Loaded before a worker (`node --import`): changes the text of one file as it is loaded, so that the worker runs the real
// code with one bug in it. Nothing on the disk is touched.
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { planted, PLANTS } from "./plants.ts";

const id = process.env["CRASH_PLANT"] ?? "";
const plant = PLANTS.find((one) => one.id === id);
if (plant === undefined) throw new Error(`there is no planted bug "${id}"`);
const root = fileURLToPath(new URL("../../../", import.meta.url));
const target = join(root, plant.file);

registerHooks({
  load: (url, context, next) => {
    const loaded = next(url, context);
    if (!url.startsWith("file:") || fileURLToPath(url) !== target) return loaded;
    const { source } = loaded;
    if (source === undefined) throw new Error(`${plant.file} has no text to plant a bug in`);
    const text = typeof source === "string" ? source : Buffer.from(source as Uint8Array).toString("utf8");
    return { ...loaded, source: planted(plant, text) };
  },
});
