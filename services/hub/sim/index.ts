export { sim, type SimOptions, type SimOutcome } from "./sim.ts";
