const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/**
 * Whether a request may change something on behalf of the session it carries: it reads, or a page of ours sent it.
 * `Origin` must equal ours. Where a browser withholds it (absent, or "null" on forms of pages with `no-referrer`; Fetch
 * §3.1), its own word `Sec-Fetch-Site: same-origin` decides: pages cannot set that header, and a sandboxed frame does
 * not get it. A program that sends neither is refused; with a token instead of a cookie it need not ask.
 * @param origin Our public origin, such as "https://hub.example.com".
 */
export function checkOrigin(request: Request, origin: string): boolean {
  if (SAFE_METHODS.has(request.method)) return true;
  const sent = request.headers.get("origin");
  if (sent !== null && sent !== "null") return sent === origin;
  return request.headers.get("sec-fetch-site") === "same-origin";
}
