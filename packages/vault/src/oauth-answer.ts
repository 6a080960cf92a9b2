/**
 * What a token endpoint says, as one JSON object; undefined when it is anything else: no JSON, not UTF-8, or one that
 * names a member twice, because two readers would then see two different answers (RFC 8259 §4).
 *
 * Members that say less than they should are dropped instead of refused, because refusing an answer to a renewal loses
 * the tokens in it: a life that is no time (the expiry is then unknown), scopes that are no text. So is an ID token:
 * nobody here believes it, and verifying it would need keys.
 */
export function readAnswer(body: Uint8Array): Record<string, unknown> | undefined {
  let json: unknown;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(body);
    json = JSON.parse(text);
    if (hasRepeatedMember(text)) return undefined;
  } catch {
    return undefined;
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) return undefined;
  const { id_token: _, expires_in: expiresIn, scope, ...answer } = json as Record<string, unknown>;
  const seconds = lifeOf(expiresIn);
  const scopes = scopeOf(scope);
  return {
    ...answer,
    ...(seconds === undefined ? {} : { expires_in: seconds }),
    ...(scopes === undefined ? {} : { scope: scopes }),
  };
}

/** Thirty years. */
const LIFE_SECONDS_MAX = 1e9;

function lifeOf(value: unknown): number | undefined {
  if (typeof value !== "number" && !(typeof value === "string" && /^\d{1,10}(?:\.\d+)?$/.test(value))) return undefined;
  const seconds = Math.floor(Number(value));
  return seconds > 0 && seconds < LIFE_SECONDS_MAX ? seconds : undefined;
}

function scopeOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return Array.isArray(value) && value.every((scope) => typeof scope === "string") ? value.join(" ") : undefined;
}

/** Of the outermost object, in JSON that was parsed already: strings and brackets are all there is to tell apart. */
function hasRepeatedMember(json: string): boolean {
  const seen = new Set<string>();
  let depth = 0;
  for (const [token, , colon] of json.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/g)) {
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    else if (depth === 1 && colon !== undefined) {
      const name = JSON.parse(token.slice(0, token.length - colon.length)) as string;
      if (seen.has(name)) return true;
      seen.add(name);
    }
  }
  return false;
}
