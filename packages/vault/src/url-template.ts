import type { OAuth2Spec, SecretRequest } from "@tributary/sdk";
import { VaultError } from "./errors.ts";

/**
 * Endpoints that differ from tenant to tenant: "https://{subdomain}.bamboohr.com/oauth/token". What an organisation
 * types in becomes part of an address that secrets are sent to, so it may be one DNS label and nothing else, and the
 * address that comes out is parsed and compared with what the connector declared. Where the name then leads is judged
 * when the connection is made, as for every other request.
 */
export type TemplateValues = Readonly<Record<string, string>>;

const PLACEHOLDER = /\{([a-zA-Z][a-zA-Z0-9_]{0,39})\}/g;
/** RFC 1035 §2.3.1, lower case. Two hyphens in the third place mark encoded names (RFC 5891 §4.2.3.1): no look-alikes. */
const LABEL = /^(?![a-z0-9-]{2}--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

export const isTemplate = (text: string): boolean => text.search(PLACEHOLDER) >= 0;

/**
 * @throws VaultError oauth_config_incomplete when a value is missing · url_not_allowed when one is not a DNS label, or
 * the address that it makes is not below the template's own suffix.
 */
export function fillUrl(template: string, values: TemplateValues): string {
  if (!isTemplate(template)) return template;
  const { host, suffix } = hostOf(template);
  const filled = fill(template, values);
  const url = URL.parse(filled);
  const expected = fill(host, values);
  // The parser decides what is a host, so its answer is what counts, not what we meant to write.
  const asDeclared =
    url !== null &&
    url.protocol === "https:" &&
    url.username === "" &&
    url.password === "" &&
    url.host === expected &&
    (suffix === expected || url.host.endsWith(`.${suffix}`));
  if (!asDeclared)
    throw new VaultError("url_not_allowed", "the address is not below the one that the connector declares");
  return filled;
}

/** A host of a manifest, which may be a template as well. @throws as {@link fillUrl}. */
export const fillHost = (template: string, values: TemplateValues): string =>
  isTemplate(template) ? new URL(fillUrl(`https://${template}/`, values)).host : template;

/** Every address of a spec filled in. @throws as {@link fillUrl}. */
export function fillSpec(spec: OAuth2Spec, values: TemplateValues): OAuth2Spec {
  const { issuer, revocation } = spec;
  return {
    ...spec,
    authorizationUrl: fillUrl(spec.authorizationUrl, values),
    tokenUrl: fillUrl(spec.tokenUrl, values),
    ...(issuer === undefined ? {} : { issuer: fillUrl(issuer, values) }),
    ...(revocation === undefined ? {} : { revocation: fillRevocation(revocation, values) }),
  };
}

const fillRevocation = (revocation: string | SecretRequest, values: TemplateValues): string | SecretRequest =>
  typeof revocation === "string"
    ? fillUrl(revocation, values)
    : { ...revocation, url: fillUrl(revocation.url, values) };

/** The host that secrets go to when a token is asked for. */
export const tokenHostOf = (spec: OAuth2Spec): string => new URL(spec.tokenUrl).host;

function fill(template: string, values: TemplateValues): string {
  return template.replaceAll(PLACEHOLDER, (_, name: string) => {
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value === undefined || value === "")
      throw new VaultError("oauth_config_incomplete", "a part of the provider's address has not been entered");
    if (!LABEL.test(value))
      throw new VaultError("url_not_allowed", "a part of the provider's address is not a plain name");
    return value;
  });
}

/**
 * The host of a template, and its declared suffix: what stands after the last placeholder, two labels at least, so that
 * no value can choose the domain.
 * @throws TypeError: a template is part of a connector, and a wrong one is its author's error.
 */
function hostOf(template: string): { readonly host: string; readonly suffix: string } {
  const host = /^https:\/\/([^/?#\\@]+)(?:[/?#]|$)/.exec(template)?.[1];
  if (host === undefined) throw new TypeError("a template of an address begins with https:// and a host");
  const [name = "", port] = host.split(":");
  const labels = name.split(".");
  const whole = labels.every((label) => !/[{}]/.test(label) || /^\{[^{}]*\}$/.test(label));
  const literal = labels.slice(labels.findLastIndex((label) => label.startsWith("{")) + 1);
  if (!whole || literal.length < 2)
    throw new TypeError("a placeholder in a host is a whole label, and two labels at least stand after the last one");
  return { host, suffix: literal.join(".") + (port === undefined ? "" : `:${port}`) };
}
