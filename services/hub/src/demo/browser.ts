/** What a browser does for the demo, without one: cookies, redirects, and pressing a form's button. */
export interface Browser {
  /** Loads a page, following redirects across origins as a browser does. */
  open(url: string): Promise<Page>;
  /** Presses the button of the first form that has it. @param button its text. */
  press(page: Page, button: string): Promise<Page>;
  /** A request of the pages' own script: same cookies, no redirects followed. */
  send(url: string, init: { readonly method: string; readonly json?: unknown }): Promise<Response>;
}

export interface Page {
  readonly url: URL;
  readonly status: number;
  readonly html: string;
}

const REDIRECTS_MAX = 20;
const TIMEOUT_MS = 20_000;

export function createBrowser(): Browser {
  /** Cookies do not know ports, so on loopback every origin would share them: they are kept by origin here. */
  const jar = new Map<string, Map<string, string>>();

  async function request(url: URL, init: RequestInit): Promise<Response> {
    const cookies = [...(jar.get(url.origin) ?? [])].map(([name, value]) => `${name}=${value}`).join("; ");
    const headers = new Headers(init.headers);
    if (cookies !== "") headers.set("cookie", cookies);
    const response = await fetch(url, {
      ...init,
      headers,
      redirect: "manual",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    for (const line of response.headers.getSetCookie()) keep(jar, url.origin, line);
    return response;
  }

  async function follow(start: URL, init: RequestInit): Promise<Page> {
    let url = start;
    let next = init;
    for (let hop = 0; hop < REDIRECTS_MAX; hop++) {
      const response = await request(url, next);
      const location = response.headers.get("location");
      if (location === null || response.status < 300 || response.status > 399)
        return { url, status: response.status, html: await response.text() };
      await response.body?.cancel();
      url = new URL(location, url);
      next = { headers: { accept: "text/html" } };
    }
    throw new Error(`more than ${REDIRECTS_MAX} redirects from ${start.origin}`);
  }

  return {
    open: (url) => follow(new URL(url), { headers: { accept: "text/html" } }),
    press: (page, button) => {
      const form = findForm(page.html, button);
      if (form === undefined)
        throw new Error(
          `there is no button "${button}" on ${page.url.origin}${page.url.pathname} (status ${page.status})`,
        );
      const target = new URL(form.action === "" ? page.url : decode(form.action), page.url);
      const init = {
        method: "POST",
        body: new URLSearchParams(form.fields),
        headers: { origin: page.url.origin, accept: "text/html" },
      };
      return follow(target, init);
    },
    send: (url, { method, json }) => {
      const target = new URL(url);
      const headers = { origin: target.origin, ...(json === undefined ? {} : { "content-type": "application/json" }) };
      return request(target, { method, headers, ...(json === undefined ? {} : { body: JSON.stringify(json) }) });
    },
  };
}

function keep(jar: Map<string, Map<string, string>>, origin: string, line: string): void {
  const [pair = "", ...attributes] = line.split(";");
  const at = pair.indexOf("=");
  const cookies = jar.get(origin) ?? new Map<string, string>();
  jar.set(origin, cookies);
  const gone = attributes.some((attribute) => /^\s*(max-age=0|expires=thu, 01 jan 1970)/i.test(attribute));
  if (gone) cookies.delete(pair.slice(0, at).trim());
  else cookies.set(pair.slice(0, at).trim(), pair.slice(at + 1));
}

/** Reads the forms of our own pages, which are known to be plain; not a parser for the web. */
function findForm(html: string, button: string): { action: string; fields: [string, string][] } | undefined {
  for (const [, open = "", body = ""] of html.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form\s*>/g)) {
    const buttons = [...body.matchAll(/<button\b([^>]*)>([\s\S]*?)<\/button\s*>/g)];
    const pressed = buttons.find(([, , label = ""]) => decode(label.replaceAll(/<[^>]*>/g, "")).trim() === button);
    if (pressed === undefined) continue;
    const fields = [...body.matchAll(/<input\b([^>]*)>/g)]
      .map(([, attributes = ""]) => attributes)
      .filter((attributes) => !/\btype="?(checkbox|radio)/.test(attributes) || /\bchecked\b/.test(attributes))
      .map((attributes): [string, string] => [attribute(attributes, "name"), attribute(attributes, "value")]);
    const own: [string, string] = [attribute(pressed[1] ?? "", "name"), attribute(pressed[1] ?? "", "value")];
    return { action: attribute(open, "action"), fields: [...fields, own].filter(([name]) => name !== "") };
  }
  return undefined;
}

const attribute = (attributes: string, name: string): string =>
  decode(new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(attributes)?.[1] ?? "");
const decode = (text: string): string =>
  text
    .replaceAll("&quot;", '"')
    .replaceAll("&#39;", "'")
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&amp;", "&");
