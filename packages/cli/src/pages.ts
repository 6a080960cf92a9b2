/** A hub's page holds so many at most. */
const PAGE_MAX = 200;

/** The most that one command lists: it holds them in memory. */
export const LISTED_MAX = 100_000;

export interface Listed<T> {
  readonly found: readonly T[];
  /** "" when that was all. */
  readonly nextPageToken: string;
}

/** Reads page after page until there are so many, or no more. */
export async function listed<T>(
  { limit, page = "" }: { readonly limit: number; readonly page?: string },
  ask: (place: { readonly pageSize: number; readonly pageToken: string }) => Promise<Listed<T>>,
): Promise<Listed<T>> {
  const found: T[] = [];
  for (let pageToken = page; ;) {
    const answer = await ask({ pageSize: Math.min(PAGE_MAX, limit - found.length), pageToken });
    found.push(...answer.found);
    pageToken = answer.nextPageToken;
    if (pageToken === "" || found.length >= limit) return { found, nextPageToken: pageToken };
  }
}

/** What people are told who have not seen all. */
export const onward = (nextPageToken: string): readonly string[] =>
  nextPageToken === "" ? [] : [`There are more: --page ${nextPageToken}, or a greater --limit.`];
