import type { Connector } from "@tributary/sdk";
import { type ClientSummary, VaultError } from "@tributary/vault";
import { IntegrationError, notFound } from "./errors.ts";
import { addressNames, enteredValues } from "./address-values.ts";
import type { Runtime } from "./runtime.ts";

type Parts = Pick<Runtime, "vault" | "registry">;

/** An OAuth client as an organisation enters it. */
export interface PutClient {
  readonly organizationId: string;
  readonly integration: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** What the placeholders in the provider's addresses stand for, as they were entered. */
  readonly values?: Readonly<Record<string, unknown>>;
  /** New particulars of that one; absent: a new one. */
  readonly contextId?: string;
  /** Who enters it, for the audit. */
  readonly actor: string;
}

/** An organisation has no more of its own for one integration. */
const CLIENTS_MAX = 20;

/**
 * The OAuth clients that an organisation brought for an integration, newest first. No secret is among it.
 * @throws IntegrationError not_found when there is no such integration.
 */
export async function listClients(
  { vault, registry }: Parts,
  organizationId: string,
  integration: string,
): Promise<readonly ClientSummary[]> {
  const { id } = registry.get(integration);
  return (await vault.listClients(organizationId)).filter((client) => client.integration === id);
}

/**
 * Keeps an OAuth client that an organisation brought. Its secret is bound to its id and to the host that its values lead
 * to, so that whoever changes one of them has to know the secret.
 * @throws IntegrationError not_found (no such integration, or no such client of theirs) · oauth_config_incomplete ·
 * url_not_allowed · validation_failed (each with the path) · limit_reached · conflict (changed meanwhile).
 */
export async function putClient(parts: Parts, request: PutClient): Promise<ClientSummary> {
  const { organizationId, integration, clientId, clientSecret, contextId, actor } = request;
  const connector = parts.registry.get(integration);
  const own = await listClients(parts, organizationId, integration);
  if (contextId !== undefined) assertOwn(own, contextId);
  else if (own.length >= CLIENTS_MAX)
    throw new IntegrationError("limit_reached", "There are as many OAuth clients as there may be. Remove one first.");
  const empty = Object.entries({ clientId, clientSecret }).filter(([, entered]) => entered === "");
  if (empty.length > 0)
    throw new IntegrationError(
      "oauth_config_incomplete",
      "An OAuth client has an id and a secret.",
      empty.map(([name]) => ({ path: `/${name}`, reason: "required" })),
    );
  const values = enteredValues(addressNames(connector.auth), request.values);
  try {
    return await parts.vault.putClient({
      organizationId,
      integration,
      clientId,
      clientSecret,
      spec: connector.auth,
      values,
      ...(contextId === undefined ? {} : { contextId }),
      actor,
    });
  } catch (error) {
    if (error instanceof VaultError && error.code === "credential_missing")
      throw new IntegrationError("conflict", "The OAuth client was changed meanwhile. Look again.");
    throw clientRefusal(error, connector);
  }
}

/**
 * Forgets one. What was linked with it works until its access expires.
 * @throws IntegrationError not_found.
 */
export async function removeClient(
  parts: Parts,
  {
    organizationId,
    integration,
    contextId,
    actor,
  }: Pick<PutClient, "organizationId" | "integration" | "actor"> & {
    readonly contextId: string;
  },
): Promise<void> {
  // The vault asks for no integration: a client of another one is none here.
  assertOwn(await listClients(parts, organizationId, integration), contextId);
  if (!(await parts.vault.removeClient(organizationId, contextId, actor))) throw notFound();
}

/** @throws IntegrationError not_found: the same for one of another organisation, of the deployment and of nobody. */
export function assertOwn(own: readonly ClientSummary[], contextId: string): void {
  if (!own.some((client) => client.contextId === contextId)) throw notFound();
}

/** What the vault says of a client or of its address, as whoever entered it can act on it. Anything else stays as it is. */
export function clientRefusal(error: unknown, { auth }: Connector): unknown {
  if (!(error instanceof VaultError)) return error;
  const names = addressNames(auth);
  switch (error.code) {
    case "url_not_allowed":
      return new IntegrationError("url_not_allowed", "A part of the provider's address is not a plain name.", [
        { path: names.length === 1 ? `/values/${names[0]}` : "/values", reason: "not_a_name" },
      ]);
    case "oauth_config_incomplete":
      return new IntegrationError("oauth_config_incomplete", "There are several OAuth clients. Say which.", [
        { path: "/clientContextId", reason: "required" },
      ]);
    case "oauth_client_invalid":
      // Sent nowhere: an address has changed, and whoever could change it need not know the secret.
      if (error.detail === "host_changed")
        return new IntegrationError(
          "oauth_config_incomplete",
          "The OAuth client's secret was entered for another host. Enter it again for this one.",
          [{ path: "/clientSecret", reason: "host_changed" }],
        );
      return new IntegrationError("oauth_client_invalid", "No OAuth client is configured for this integration.");
    default:
      return error;
  }
}
