import { IntegrationError } from "@tributary/integrations";
import type { Context } from "hono";
import type { z } from "zod";
import { ApiError } from "./errors.ts";

/**
 * The body, parsed and checked. What is wrong is told by path and reason, never by value.
 * @throws ApiError unsupported_media_type · malformed_body · IntegrationError validation_failed.
 */
export async function readJson<T extends z.ZodType>(c: Context, schema: T): Promise<z.output<T>> {
  if (!/^application\/json\b/.test(c.req.header("content-type") ?? ""))
    throw new ApiError("unsupported_media_type", "The body must be JSON.");
  const body: unknown = await c.req.json().catch(() => {
    throw new ApiError("malformed_body", "The body is not JSON.");
  });
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issues = result.error.issues.map(({ path, code }) => ({
    path: `/${path.map(String).join("/")}`,
    reason: code,
  }));
  throw new IntegrationError("validation_failed", "The body does not have the expected shape.", issues);
}
