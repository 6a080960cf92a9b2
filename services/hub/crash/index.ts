export { crash, type CrashOptions, type CrashOutcome } from "./crash.ts";
