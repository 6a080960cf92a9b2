/** The token is none that this list gave out. */
export class PageTokenInvalid extends Error {
  readonly code = "validation_failed";
  constructor() {
    super("validation_failed: the page token is not one of this list's");
  }
}

/** What a part of a token has to be, so that the database can read it. */
export type PagePart = "time" | "uuid" | "number";

/** The place of a page's last row. Opaque to whoever carries it; holds nothing but the place. */
export const pageToken = (...place: readonly (string | bigint)[]): string =>
  Buffer.from(JSON.stringify(place.map(String))).toString("base64url");

/** @throws PageTokenInvalid unless it has exactly these parts. */
export function readPageToken(token: string, shape: readonly PagePart[]): readonly string[] {
  const place = listIn(token);
  if (place.length !== shape.length) throw new PageTokenInvalid();
  return shape.map((kind, index) => {
    const part = place[index];
    if (typeof part !== "string" || !IS[kind](part)) throw new PageTokenInvalid();
    return part;
  });
}

function listIn(token: string): readonly unknown[] {
  try {
    const place: unknown = JSON.parse(Buffer.from(token, "base64url").toString());
    return Array.isArray(place) ? (place as unknown[]) : [];
  } catch {
    return [];
  }
}

const IS: Readonly<Record<PagePart, (part: string) => boolean>> = {
  time: isTime,
  uuid: (part) => /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/.test(part),
  number: (part) => /^\d{1,18}$/.test(part),
};

/** As PostgreSQL writes a timestamp with time zone, and a day that there is: it takes no 30th of February. */
function isTime(part: string): boolean {
  const [, day = "", time = ""] =
    /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.\d{1,6})?[+-]\d\d(?::\d\d)?$/.exec(part) ?? [];
  const date = new Date(`${day}T${time}Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(`${day}T${time}`);
}
