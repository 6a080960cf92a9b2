import { Hono } from "hono";
import { z } from "zod";
import { type ApiEnv, type ApiOptions, caller } from "./options.ts";
import { readJson } from "./read-json.ts";
import { connectionJson, eventJson, receiptJson } from "./views.ts";

const Act = z.strictObject({ type: z.string().max(64), input: z.json(), idempotencyKey: z.uuid() });
const Disconnect = z.strictObject({ deleteEvents: z.boolean() });

/** What an owner does with connections. */
export function connectionRoutes({ connections, runtime }: ApiOptions): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const show = (view: Awaited<ReturnType<typeof connections.get>>, events: number | null = null) =>
    connectionJson(view, runtime.registry.get(view.row.integration), events);
  routes.get("/connections", async (c) =>
    c.json({ items: (await connections.list(caller(c))).map((view) => show(view)) }),
  );
  routes.get("/connections/:id", async (c) => {
    const view = await connections.get(caller(c), c.req.param("id"));
    return c.json(show(view, await connections.countEvents(caller(c), view.row.id)));
  });
  routes.get("/connections/:id/events", async (c) => {
    const limit = z.coerce.number().int().min(1).max(200).catch(50).parse(c.req.query("limit"));
    const events = await connections.events(caller(c), c.req.param("id"), limit);
    return c.json({ items: events.map(eventJson) });
  });
  routes.post("/connections/:id/pause", async (c) =>
    c.json(show(await connections.pause(caller(c), c.req.param("id")))),
  );
  routes.post("/connections/:id/resume", async (c) =>
    c.json(show(await connections.resume(caller(c), c.req.param("id")))),
  );
  routes.post("/connections/:id/sync", async (c) =>
    c.json(show(await connections.sync(caller(c), c.req.param("id"))), 202),
  );
  routes.post("/connections/:id/actions", async (c) => {
    const request = await readJson(c, Act);
    return c.json(await connections.act(caller(c), c.req.param("id"), request));
  });
  routes.delete("/connections/:id", async (c) => {
    const options = await readJson(c, Disconnect);
    return c.json(receiptJson(await connections.disconnect(caller(c), c.req.param("id"), options)));
  });
  routes.get("/receipts/:id", async (c) =>
    c.json(receiptJson(await connections.receipt(caller(c), c.req.param("id")))),
  );
  return routes;
}
