import { Hono } from "hono";
import { z } from "zod";
import { ApiError } from "./errors.ts";
import type { ApiEnv, ApiOptions } from "./options.ts";
import { readJson } from "./read-json.ts";

const Trigger = z.strictObject({ type: z.string().max(200) });

/** What can be done to the simulated providers. A hub without them has no such routes. */
export function sandboxRoutes({ triggers }: Pick<ApiOptions, "triggers">): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  if (triggers === undefined) return routes;
  routes.get("/sandbox/triggers", (c) => c.json({ types: triggers.triggerTypes }));
  routes.post("/sandbox/triggers", async (c) => {
    const { type } = await readJson(c, Trigger);
    if (!triggers.triggerTypes.includes(type))
      throw new ApiError("unknown_action", "No simulated provider makes events of that type.");
    const did = triggers.trigger(type);
    if (did === undefined) throw new ApiError("conflict", "Nothing in the simulated account lends itself to that.");
    return c.json({ type, did }, 202);
  });
  return routes;
}
