import { eventTokens } from "@tributary/contracts";
import type { Connector } from "@tributary/sdk";
import { notFound } from "./errors.ts";

/** The connectors that this deployment runs, by id. */
export interface Registry {
  readonly connectors: readonly Connector[];
  /** @throws IntegrationError not_found. */
  get(id: string): Connector;
}

/**
 * Checks what the type system cannot: ids, event types, versions.
 * @throws TypeError that names the connector and what is wrong with it.
 */
export function createRegistry(connectors: readonly Connector[]): Registry {
  const byId = new Map<string, Connector>();
  for (const connector of connectors) {
    const wrong = (what: string): TypeError => new TypeError(`connector "${connector.id}": ${what}`);
    if (!/^[a-z][a-z0-9-]{1,39}$/.test(connector.id)) throw wrong("the id must be 2 to 40 of a-z, 0-9 and -");
    if (byId.has(connector.id)) throw wrong("there are two of that id");
    if (connector.manifest.hosts.length === 0) throw wrong("the manifest lists no hosts");
    if (connector.manifest.events.length === 0) throw wrong("the manifest lists no event types");
    for (const type of connector.manifest.events) eventTokens(type);
    for (const host of connector.manifest.hosts)
      if (!HOST.test(host)) throw wrong("a host must be an exact, lower-case host name, or one below a placeholder");
    byId.set(connector.id, connector);
  }
  return {
    connectors,
    get: (id) => {
      const connector = byId.get(id);
      if (connector === undefined) throw notFound();
      return connector;
    },
  };
}

/** Placeholders are whole labels in front, and what an organisation fills them with is judged by the vault. */
const HOST = /^(?:\{[a-z][a-z0-9_]*\}\.)*[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::\d+)?$/;

/** The version that new connections get. */
export const defaultApiVersion = ({ manifest }: Connector): string =>
  (manifest.apiVersions.find((version) => version.default === true) ?? manifest.apiVersions[0]).id;
