import type { Json } from "@tributary/sdk";

/** A credential that stands in a configuration in the open. */
export interface PlaintextSecret {
  /** The name it gets in the vault: the property's own, or its whole path when two have the same. */
  readonly name: string;
  readonly value: string;
}

/**
 * Names that could authenticate somebody: the last words of a property's name, however it is written (`apiKey`, `API-KEY`,
 * `webhook_secret`). `token_url` or `has_password` say something about a credential and are none.
 */
const CREDENTIAL =
  /^(?!(?:has|is|with|use|no)_)(?:.*_)?(?:api_?key|access_?key|auth_?key|private_?key|secret_?key|signing_?key|token|password|passwd|passphrase|secret|credentials?|authorization|bearer|pin)$/;

const isCredentialName = (name: string): boolean =>
  CREDENTIAL.test(
    name
      .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
      .replace(/[^A-Za-z0-9]+/g, "_")
      .toLowerCase(),
  );

/** Parts a configuration into credentials and what may stay. Nothing to part: `secrets` is empty. */
export function partPlaintext<T extends Readonly<Record<string, Json>>>(
  config: T,
): { readonly secrets: readonly PlaintextSecret[]; readonly rest: T } {
  const found: { readonly path: readonly string[]; readonly value: string }[] = [];
  const rest = without(config, [], false, found) as T;
  const last = found.map(({ path }) => path.filter((part) => !/^\d+$/.test(part)).at(-1) ?? "");
  const secrets = found.map(({ path, value }, n) => {
    const name = last[n] ?? "";
    const alone = last.filter((other) => other === name).length === 1 && path.at(-1) === name;
    return { name: alone ? name : path.join("."), value };
  });
  return { secrets, rest };
}

/** @param secret what stands here is a credential, whatever its own name is. */
function without(
  value: Json,
  path: readonly string[],
  secret: boolean,
  found: { readonly path: readonly string[]; readonly value: string }[],
): Json | undefined {
  if (Array.isArray(value))
    return value.map((one, n) => without(one, [...path, String(n)], secret, found)).filter((one) => one !== undefined);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(
      Object.entries(value).flatMap(([name, one]) => {
        const kept =
          one === undefined ? undefined : without(one, [...path, name], secret || isCredentialName(name), found);
        return kept === undefined ? [] : [[name, kept]];
      }),
    );
  if (!secret || (typeof value !== "string" && typeof value !== "number") || value === "") return value;
  found.push({ path, value: String(value) });
  return undefined;
}
