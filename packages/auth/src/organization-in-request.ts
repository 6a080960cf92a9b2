import { readBody } from "./read-body.ts";

/** Names of a field that holds an organisation's id, however it is written. */
const ID_FIELD = /^org(?:ani[sz]ation)?ids?$/;
/** Names of a field whose own `id` is one. */
const OBJECT_FIELD = /^org(?:ani[sz]ation)?$/;
const PATH_SEGMENT = /^(?:orgs?|organi[sz]ations?)$/i;
const HEADERS = ["x-organization-id", "x-organisation-id", "x-org-id"];
/** A body beyond it cannot be looked through. */
const BODY_BYTES_MAX = 1024 * 1024;

/**
 * Every organisation that a request names outside its proof: in the path (the segment after `organizations`), in the
 * query, in a header, and anywhere in a body of JSON or of a form, nested, in lists, and in members that stand twice,
 * because parsers differ in which of two they keep. The request's own body stays unread.
 * @returns undefined for a body that is too large to tell.
 */
export async function organizationsIn(request: Request): Promise<readonly string[] | undefined> {
  const url = new URL(request.url);
  const named = [...inPath(url.pathname), ...inFields(url.searchParams)];
  for (const header of HEADERS) {
    const value = request.headers.get(header);
    if (value !== null) named.push(...value.split(",").map((one) => one.trim()));
  }
  if (request.body === null || request.bodyUsed) return named;
  const body = await readBody(request.clone(), BODY_BYTES_MAX);
  if (body === undefined) return undefined;
  return [...named, ...(await inBody(body, request.headers.get("content-type") ?? ""))];
}

function inPath(pathname: string): string[] {
  const segments = pathname.split("/").map(decoded);
  return segments.filter((one, index) => one !== "" && PATH_SEGMENT.test(segments[index - 1] ?? ""));
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** `org_id`, `orgId[]`, `filter[organization_id]`, `filter.organizationId`. */
function inFields(fields: Iterable<readonly [string, unknown]>): string[] {
  const named: string[] = [];
  for (const [name, value] of fields) {
    const last = name
      .split(/[[\].]+/)
      .filter((part) => part !== "" && !/^\d+$/.test(part))
      .at(-1);
    if (typeof value === "string" && ID_FIELD.test(plain(last ?? ""))) named.push(value);
  }
  return named;
}

/** By what it looks like rather than by its declared type alone: a route may read either. */
async function inBody(body: Buffer, contentType: string): Promise<string[]> {
  // As a route reads it: a byte order mark is dropped (Encoding Standard, UTF-8 decode).
  const text = new TextDecoder().decode(body);
  if (/^\s*[[{]/.test(text)) return inJson(text);
  if (/^multipart\/form-data\b/i.test(contentType)) {
    const form = await new Response(Uint8Array.from(body), { headers: { "content-type": contentType } })
      .formData()
      .catch(() => undefined);
    return form === undefined ? [] : inFields(form);
  }
  return /^application\/x-www-form-urlencoded\b/i.test(contentType) ? inFields(new URLSearchParams(text)) : [];
}

interface Level {
  readonly list: boolean;
  /** What stands directly in this list is an organisation's id; in an object, what stands in its `id`. */
  readonly names: boolean;
  /** The member that is being read; undefined where its name comes next. */
  key: string | undefined;
}

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+/gs;

/** One pass over the tokens, without recursion; what is not JSON no route can read either. */
function inJson(text: string): string[] {
  if (!/org|\\u/i.test(text) || !isJson(text)) return [];
  const named: string[] = [];
  const levels: Level[] = [];
  for (const [token] of text.matchAll(TOKEN)) {
    const level = levels.at(-1);
    if (token === "{" || token === "[")
      levels.push({ list: token === "[", names: opens(level, token), key: undefined });
    else if (token === "}" || token === "]") levels.pop();
    else if (token === ",") {
      if (level !== undefined) level.key = undefined;
    } else if (token === ":") continue;
    else if (level !== undefined && !level.list && level.key === undefined)
      level.key = plain(JSON.parse(token) as string);
    else if (isId(level) && token !== "null") named.push(String(JSON.parse(token)));
  }
  return named;
}

/** Whether what opens here holds ids: a list of them, or an object that is an organisation. */
function opens(level: Level | undefined, token: "{" | "["): boolean {
  if (level === undefined) return false;
  if (level.list) return level.names;
  const key = level.key ?? "";
  return ID_FIELD.test(key) || OBJECT_FIELD.test(key) || (token === "[" && level.names && key === "id");
}

const isId = (level: Level | undefined): boolean =>
  level !== undefined &&
  (level.list ? level.names : ID_FIELD.test(level.key ?? "") || (level.names && level.key === "id"));

const plain = (name: string): string => name.toLowerCase().replaceAll(/[_\-\s]/g, "");

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
