const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/**
 * Whether a request may change something on behalf of the session it carries: it reads, or a page of ours sent it.
 * `Origin` must equal ours; every browser sends one with a method that changes something (Fetch §3.2). A form of a page
 * with `no-referrer` sends "null" instead, and so does a sandboxed frame of anybody: then the browser's own word
 * `Sec-Fetch-Site: same-origin` decides, which pages cannot set and such a frame does not get. That word alone, without
 * an `Origin`, is no browser's. A program is refused; with a token instead of a cookie it need not ask.
 * @param origin Our public origin, such as "https://hub.example.com".
 */
export function checkOrigin(request: Request, origin: string): boolean {
  if (SAFE_METHODS.has(request.method)) return true;
  const sent = request.headers.get("origin");
  return sent === "null" ? request.headers.get("sec-fetch-site") === "same-origin" : sent === origin;
}
