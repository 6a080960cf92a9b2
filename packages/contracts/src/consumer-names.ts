/**
 * Consumers on NATS. A stream is shared by all organisations, and a durable consumer's name is global on it, so the
 * name says whose it is: `<organisation>_<name>`, and `_<name>` for one that hears every organisation. It can be read in
 * one way only: a name has no "_", so the last one divides, and no organisation's id is empty.
 */

/** What a subscriber may call itself: 1 to 64 of a-z, 0-9 and "-", and no "-" in front. */
export const CONSUMER_NAME = /^[a-z0-9][a-z0-9-]{0,63}$/;

/** What an organisation may know a consumer by: a name, or, with "_" in front, of one that hears every organisation. */
export const KNOWN_CONSUMER = /^_?[a-z0-9][a-z0-9-]{0,63}$/;

/**
 * What an organisation's lists, replays and dead letters call a consumer: "billing", or "_billing" for one that hears
 * every organisation. So the two are apart although both subscribe as "billing".
 * @param organizationId absent: it hears every organisation.
 */
export const consumerKnownAs = (name: string, organizationId?: string): string =>
  organizationId === undefined ? `_${name}` : name;

/**
 * Name of the durable consumer on the broker, on each stream that it reads.
 * @param knownAs what {@link consumerKnownAs} says.
 * @throws TypeError for what is no name, and for one of an organisation without its organisation.
 */
export function durableName(knownAs: string, organizationId = ""): string {
  if (!KNOWN_CONSUMER.test(knownAs)) throw new TypeError("a consumer's name is a-z, 0-9 and hyphens, at most 64");
  if (knownAs.startsWith("_")) return knownAs;
  if (!isOrganization(organizationId)) throw new TypeError("not the id of an organisation");
  return `${organizationId}_${knownAs}`;
}

/**
 * Whose a durable consumer is, and what they know it by.
 * @returns undefined for a name that is none of {@link durableName}; no organisation for one that hears every one.
 */
export function readDurableName(
  durable: string,
): { readonly knownAs: string; readonly organizationId?: string } | undefined {
  const at = durable.lastIndexOf("_");
  const [organizationId, name] = [durable.slice(0, Math.max(0, at)), durable.slice(at + 1)];
  if (at < 0 || !CONSUMER_NAME.test(name)) return undefined;
  if (organizationId === "") return { knownAs: durable };
  return isOrganization(organizationId) ? { knownAs: name, organizationId } : undefined;
}

/** Whether it can be the id of an organisation, as `auth.organization` holds them to it. */
export const isOrganization = (id: string): boolean => /^[a-z0-9][a-z0-9_-]{0,62}$/.test(id);
