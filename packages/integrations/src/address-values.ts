import type { Auth } from "@tributary/sdk";
import { IntegrationError } from "./errors.ts";

const PLACEHOLDER = /\{([a-zA-Z][a-zA-Z0-9_]{0,39})\}/g;

/** The names of the placeholders in a connector's addresses, in the order in which they come up. */
export function addressNames(auth: Auth, hosts: readonly string[] = []): readonly string[] {
  const { authorizationUrl, tokenUrl, issuer = "", revocation = "" } = auth;
  const addresses = [authorizationUrl, tokenUrl, issuer, typeof revocation === "string" ? revocation : revocation.url];
  const found = [...addresses, ...hosts].flatMap((address) => [...address.matchAll(PLACEHOLDER)]);
  return [...new Set(found.map(([, name = ""]) => name))];
}

/**
 * What an organisation entered for placeholders: one text for each, and nothing else. Whether a text may stand in an
 * address is the vault's to say.
 * @throws IntegrationError validation_failed · oauth_config_incomplete; paths name placeholders, and quote nothing entered.
 */
export function enteredValues(
  names: readonly string[],
  entered: Readonly<Record<string, unknown>> = {},
): Readonly<Record<string, string>> {
  if (Object.keys(entered).some((name) => !names.includes(name)))
    throw new IntegrationError("validation_failed", "The provider's address has no such part.", [
      { path: "/values", reason: "unrecognized_keys" },
    ]);
  const given = names.map((name) => [name, Object.hasOwn(entered, name) ? entered[name] : ""] as const);
  const strange = given.filter(([, value]) => typeof value !== "string");
  if (strange.length > 0)
    throw new IntegrationError("validation_failed", "A part of the provider's address is not a text.", issues(strange));
  const missing = given.filter(([, value]) => value === "");
  if (missing.length > 0)
    throw new IntegrationError(
      "oauth_config_incomplete",
      "A part of the provider's address has not been entered.",
      missing.map(([name]) => ({ path: `/values/${name}`, reason: "required" })),
    );
  return Object.fromEntries(given) as Readonly<Record<string, string>>;
}

const issues = (given: readonly (readonly [string, unknown])[]) =>
  given.map(([name]) => ({ path: `/values/${name}`, reason: "invalid_type" }));
