// Loaded before the harness (`node --import`): gives the runtime's files the simulation's timers instead of the machine's,
// and, when SIM_PLANT names one, a bug. Nothing on the disk is touched, and production code knows nothing of it: ADR 0031.
import { registerHooks } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { planted } from "../crash/plants.ts";
import { SIM_PLANTS } from "./plants.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const id = process.env["SIM_PLANT"] ?? "";
const plant = SIM_PLANTS.find((one) => one.id === id);
if (id !== "" && plant === undefined) throw new Error(`there is no planted bug "${id}"`);
const target = plant === undefined ? undefined : join(root, plant.file);

const SIMULATED = /\/packages\/(?:vault|integrations|pipeline)\/src\/(?!testing\/)[^?]+\.ts$/;
const GLOBALS = ["setTimeout", "setInterval", "clearTimeout", "clearInterval"];
const timers = new URL("./virtual-timers.ts", import.meta.url).href;
const sleeps = new URL("./virtual-timers-promises.ts", import.meta.url).href;

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === "node:timers/promises" && SIMULATED.test(context.parentURL ?? "")
      ? { url: sleeps, format: "module-typescript", shortCircuit: true }
      : next(specifier, context),
  load: (url, context, next) => {
    const loaded = next(url, context);
    if (!url.startsWith("file:")) return loaded;
    const file = fileURLToPath(url);
    if (file !== target && !SIMULATED.test(url)) return loaded;
    const { source } = loaded;
    if (source === undefined) throw new Error(`${file} has no text`);
    const text = typeof source === "string" ? source : Buffer.from(source as Uint8Array).toString("utf8");
    const changed = plant !== undefined && file === target ? planted(plant, text) : text;
    const names = GLOBALS.filter((name) => new RegExp(`(?<![.\\w])${name}\\(`).test(changed));
    // On the first line, so that what an error says about lines stays true.
    const head = names.length === 0 ? "" : `import { ${names.join(", ")} } from "${timers}"; `;
    return { ...loaded, source: head + changed };
  },
});
