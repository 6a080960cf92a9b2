import { codeOf, type ErrorCode } from "@tributary/contracts";
import { beginConsent, errorName, finishConsent, IntegrationError } from "@tributary/integrations";
import { Hono } from "hono";
import { z } from "zod";
import { type ApiEnv, type ApiOptions, browserOf, caller } from "./options.ts";
import { ApiError } from "./errors.ts";
import { readJson } from "./read-json.ts";

const Start = z.strictObject({
  connectionId: z.uuid().optional(),
  clientContextId: z.string().optional(),
  values: z.record(z.string(), z.unknown()).optional(),
});

/** Linking an account: out to the provider, and back. */
export function consentRoutes({ runtime, nudge }: ApiOptions): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();

  routes.post("/:integration/oauth/start", async (c) => {
    const { connectionId, clientContextId, values } = await readJson(c, Start);
    const challenge = await beginConsent(runtime, {
      ...caller(c),
      person: browserOf(c),
      integration: c.req.param("integration"),
      ...(connectionId === undefined ? {} : { connectionId }),
      ...(clientContextId === undefined ? {} : { clientContextId }),
      ...(values === undefined ? {} : { values }),
    });
    if (challenge.kind !== "redirect") throw new ApiError("not_found", "This integration is not linked by redirect.");
    return c.json({ redirectUrl: challenge.url });
  });

  // A callback without a context cannot be told apart from another provider's: nothing is sent anywhere.
  routes.get("/oauth/callback", () => {
    throw new ApiError("oauth_state_invalid", "The callback address lacks the integration it belongs to.");
  });

  routes.get("/oauth/callback/:contextId", async (c) => {
    const contextId = c.req.param("contextId");
    const query = new URL(c.req.url).searchParams;
    const { organizationId } = c.get("identity");
    try {
      const outcome = await finishConsent(runtime, {
        contextId,
        query,
        organizationId,
        person: browserOf(c),
      });
      nudge();
      const kind = outcome.kind === "relinked" ? "linked" : outcome.kind;
      return c.redirect(
        `/connections?outcome=${kind}&connection=${outcome.connectionId}#connection-${outcome.connectionId}`,
        303,
      );
    } catch (error) {
      const code = codeOf(error);
      const correlation = c.get("correlationId");
      const fields = { code, correlationId: correlation, context: contextId };
      runtime.log.warn(
        { ...fields, ...(code === "internal_error" ? { error: errorName(error) } : {}) },
        "linking failed",
      );
      const page = new URLSearchParams({ outcome: outcomeOf(code), code: detailOf(error) ?? code, correlation });
      return c.redirect(`/connect/${integrationOf(runtime.registry.connectors, contextId)}?${page}`, 303);
    }
  });
  return routes;
}

/** Which page tells it. */
function outcomeOf(code: ErrorCode): "denied" | "ended" | "other-account" | "partial" | "error" {
  if (code === "oauth_denied") return "denied";
  if (code === "oauth_state_invalid" || code === "oauth_session_mismatch") return "ended";
  if (code === "other_account") return "other-account";
  if (code === "scope_insufficient") return "partial";
  return "error";
}

/** The provider's own error code, when it gave one; cut to a safe alphabet by the vault. */
const detailOf = (error: unknown): string | undefined =>
  error instanceof Error &&
  !(error instanceof IntegrationError) &&
  "detail" in error &&
  typeof error.detail === "string"
    ? error.detail
    : undefined;

/** A context is named after its integration: "todoist", or "todoist.<client>". */
const integrationOf = (connectors: readonly { readonly id: string }[], contextId: string): string =>
  connectors.find(({ id }) => contextId === id || contextId.startsWith(`${id}.`))?.id ?? "unknown";
