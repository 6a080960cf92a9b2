/**
 * What a page may do: show itself, with our stylesheet and fonts. It has no script at all, so nothing needs a nonce, and
 * nothing of another origin is ever loaded.
 * @param formTargets Origins that a form may lead to besides our own: Chromium holds the redirects that follow a form
 *   against `form-action`, and linking an account leads to its provider.
 */
export const securityHeaders = (formTargets: readonly string[] = []): Readonly<Record<string, string>> => ({
  "content-security-policy": [
    "default-src 'none'",
    "style-src 'self'",
    "font-src 'self'",
    "img-src 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    ["form-action 'self'", ...formTargets].join(" "),
  ].join("; "),
  "cache-control": "no-store",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
});

/** Where the consent page of a provider may be. */
export const providerTargets = (sandbox: boolean): readonly string[] =>
  sandbox ? ["http://127.0.0.1:*", "http://localhost:*"] : ["https:"];
