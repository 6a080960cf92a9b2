/** What the person does on a simulated provider's consent page. */
export interface ConsentAnswer {
  readonly decision: "allow" | "deny";
  /** Id of the account that is chosen. Default: the one that the page has chosen. */
  readonly account?: string;
}

const TIMEOUT_MS = 10_000;

/**
 * Opens a consent page that `oauthRoutes` serves and presses a button on it, as a browser would.
 * @param url of the authorization request, as the client made it.
 * @returns where the provider sends the browser: the client's redirect URI with a code or an error. It is not opened.
 * @throws Error when there is no consent page at that URL, or when it does not send the browser back.
 */
export async function pressConsent(url: string, { decision, account }: ConsentAnswer): Promise<URL> {
  const opened = await fetch(url, { redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS) });
  const early = opened.headers.get("location");
  if (early !== null) return new URL(early, url);
  const html = await opened.text();
  const request = /name="request" value="([0-9a-f]+)"/.exec(html)?.[1];
  if (opened.status !== 200 || request === undefined)
    throw new Error(`no consent page at ${new URL(url).origin} (status ${opened.status})`);
  const chosen = account ?? /name="account" value="([^"]*)"\s+checked/.exec(html)?.[1] ?? "";
  const ticked = [...html.matchAll(/name="scope" value="([^"]*)"/g)].map(([, scope = ""]) => ["scope", scope]);
  const pressed = await fetch(new URL(url).origin + new URL(url).pathname, {
    method: "POST",
    redirect: "manual",
    signal: AbortSignal.timeout(TIMEOUT_MS),
    body: new URLSearchParams([["request", request], ["decision", decision], ["account", chosen], ...ticked]),
  });
  await pressed.body?.cancel();
  const location = pressed.headers.get("location");
  if (location === null) throw new Error(`the consent page did not send the browser back (status ${pressed.status})`);
  return new URL(location, url);
}
