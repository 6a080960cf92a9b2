/** How cookies are named and marked on one origin. */
export interface Cookies {
  readonly secure: boolean;
  /** The name as it stands on the wire. */
  name(plain: string): string;
  set(plain: string, value: string, maxAgeSeconds: number): string;
  clear(plain: string): string;
  read(request: Request, plain: string): string | undefined;
}

/**
 * On https: `__Host-` and `Secure`, so that neither a neighbouring subdomain nor plain http can plant one (RFC 6265bis
 * §4.1.3). On http, which is allowed on loopback alone, neither: the prefix demands `Secure`, and who keeps a `Secure`
 * cookie over http differs (Chromium 156 does for 127.0.0.1 and localhost, measured; RFC 6265bis §5.7 lets nobody; HTTP
 * libraries do not send it back). What is lost there: cookies ignore ports, so every service on this machine's loopback
 * sees the cookie.
 * @throws TypeError for an origin that is neither.
 */
export function cookiesOf(origin: string): Cookies {
  const url = new URL(origin);
  if (url.origin !== origin) throw new TypeError("an origin is scheme, host and port, without a path");
  const secure = url.protocol === "https:";
  if (!secure && !isLoopback(url)) throw new TypeError("people sign in over https, or over http on loopback alone");
  const name = (plain: string): string => `${secure ? "__Host-" : ""}tributary-${plain}`;
  const set = (plain: string, value: string, maxAgeSeconds: number): string =>
    `${name(plain)}=${value}; Path=/; Max-Age=${maxAgeSeconds}; HttpOnly; SameSite=Lax${secure ? "; Secure" : ""}`;
  return {
    secure,
    name,
    set,
    clear: (plain) => set(plain, "", 0),
    read: (request, plain) => readCookie(request, name(plain)),
  };
}

export const isLoopback = (url: URL): boolean =>
  url.protocol === "http:" && ["127.0.0.1", "[::1]", "localhost"].includes(url.hostname);

export function readCookie(request: Request, name: string): string | undefined {
  for (const pair of (request.headers.get("cookie") ?? "").split(";")) {
    const at = pair.indexOf("=");
    if (at > 0 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim();
  }
  return undefined;
}
