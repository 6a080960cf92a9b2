import { type Context, Hono } from "hono";
import { compress } from "hono/compress";
import { getCookie, setCookie } from "hono/cookie";
import { html } from "hono/html";
import { type Api, type ApiClient, apiFor, ApiRefusal, type Integration, type Me } from "./api.ts";
import { type Assets, loadAssets } from "./assets.ts";
import { connectPage } from "./connect-page.ts";
import { cannotCheckPage, connectionsPage } from "./connections-page.ts";
import { disconnectPage } from "./disconnect-page.ts";
import { errorsPage, readErrorsText } from "./errors-page.ts";
import { historyPage } from "./history-page.ts";
import { type Frame, type Html, notice, plainPage, type Theme, themes } from "./layout.ts";
import { LastNames } from "./last-names.ts";
import { addPeoplePages } from "./people-pages.ts";
import { receiptPage } from "./receipt-page.ts";
import { providerTargets, securityHeaders } from "./security-headers.ts";
import { chooseLanguage, languages, speak } from "./words/language.ts";

export interface PagesOptions {
  /** The public HTTP API; {@link import("./api.ts").apiOver} makes one of a fetch handler. */
  readonly api: Api;
  /** Starts signing in; `?returnTo=<path>` is added. */
  readonly signInPath: string;
  /** Ends the session, by POST. Default "/auth/signout". */
  readonly signOutPath?: string;
  readonly now?: () => Date;
}

type Page = (ask: ApiClient, frame: Frame & { readonly me: Me }, c: Context) => Promise<Response | Html>;
const ID = "[A-Za-z0-9_-]{1,64}";
const YEAR_S = 31_536_000;

/**
 * The pages for people. Rendered here, without a script; forms post, and are answered with 303 to a page, so that going
 * back or reloading repeats nothing. A form sent twice meets an API that has done it already.
 */
export function createPages(options: PagesOptions): Hono {
  const assets = loadAssets();
  const names = new LastNames();
  const app = new Hono();
  const now = options.now ?? (() => new Date());
  const frameOf = (c: Context): Frame => frame(c, options, assets, now());

  app.use(compress({ threshold: 1024 }));
  app.get("/assets/:file", (c) => {
    const asset = assets.files.get(c.req.path);
    if (asset === undefined) return c.notFound();
    const headers = {
      ...securityHeaders(),
      "content-type": asset.type,
      "cache-control": `public, max-age=${YEAR_S}, immutable`,
    };
    return new Response(asset.body, { headers });
  });
  app.use(remember);

  /** A page for somebody signed in. */
  const page = (path: string, render: Page): void => {
    app.get(path, async (c) => {
      const ask = apiFor(options.api, c.req.raw);
      const me = await ask.me();
      const answer = await render(ask, { ...frameOf(c), me }, c);
      return answer instanceof Response ? answer : show(c, answer);
    });
  };
  /** A form. @returns where to go then. */
  const form = (path: string, act: (ask: ApiClient, c: Context) => Promise<string>): void => {
    app.post(path, async (c) => redirect(await act(apiFor(options.api, c.req.raw), c)));
  };

  app.get("/", () => redirect("/connections"));
  app.get("/signin", (c) =>
    show(c, signInPage(frameOf(c), "/connections", c.req.query("outcome"), plain(c, "ticket"))),
  );

  app.get("/connections", async (c) => {
    const ask = apiFor(options.api, c.req.raw);
    const session = c.req.header("cookie") ?? "";
    try {
      const me = await ask.me();
      const [connections, integrations] = await Promise.all([ask.connections(), ask.integrations()]);
      names.remember(session, connections);
      const linked = c.req.query("outcome") === "linked" ? c.req.query("connection") : undefined;
      return show(c, connectionsPage({ ...frameOf(c), me }, connections, integrations, linked));
    } catch (error) {
      if (!(error instanceof ApiRefusal) || (error.status > 0 && error.status < 500)) throw error;
      return show(c, cannotCheckPage(frameOf(c), names.recall(session)), 503);
    }
  });

  page(`/connect/:integration{${ID}}`, async (ask, known, c) => {
    const integration = (await ask.integrations()).find(({ id }) => id === c.req.param("integration"));
    if (integration === undefined) throw new ApiRefusal(404, "not_found");
    const came = { outcome: c.req.query("outcome"), code: plain(c, "code"), correlation: plain(c, "correlation") };
    const content = connectPage(known, integration, plain(c, "connection"), came);
    return show(c, content, 200, providerTargets(integration.sandbox));
  });
  form(`/connect/:integration{${ID}}`, async (ask, c) => {
    const { connection } = await c.req.parseBody();
    const { redirectUrl } = await ask.begin(c.req.param("integration") ?? "", text(connection));
    return redirectUrl;
  });

  page(`/connections/:id{${ID}}`, async (ask, known, c) => {
    const id = c.req.param("id") ?? "";
    const [connection, events, integrations] = await Promise.all([
      ask.connection(id),
      ask.events(id),
      ask.integrations(),
    ]);
    return historyPage(
      known,
      connection,
      of(integrations, connection.integration),
      events,
      c.req.query("titles") === "1",
    );
  });
  page(`/connections/:id{${ID}}/events.json`, async (ask, _known, c) => {
    const id = c.req.param("id") ?? "";
    return download(`events-${id}.json`, { connectionId: id, items: await ask.events(id) });
  });
  for (const verb of ["pause", "resume", "sync"] as const) {
    form(`/connections/:id{${ID}}/${verb}`, async (ask, c) => {
      const { id } = await ask[verb](c.req.param("id") ?? "");
      return `/connections#connection-${id}`;
    });
  }

  page(`/connections/:id{${ID}}/disconnect`, async (ask, known, c) => {
    const connection = await ask.connection(c.req.param("id") ?? "");
    if (connection.receiptId !== null) return redirect(`/receipts/${connection.receiptId}`);
    return disconnectPage(known, connection);
  });
  form(`/connections/:id{${ID}}/disconnect`, async (ask, c) => {
    const id = c.req.param("id") ?? "";
    const { deleteEvents } = await c.req.parseBody();
    // The second of two clicks finds the receipt of the first.
    const { receiptId } = await ask.connection(id);
    return `/receipts/${receiptId ?? (await ask.disconnect(id, deleteEvents === "1")).id}`;
  });

  page(`/receipts/:id{${ID}}`, async (ask, known, c) => {
    const [receipt, integrations] = await Promise.all([ask.receipt(c.req.param("id") ?? ""), ask.integrations()]);
    const wantsJson = c.req.query("format") === "json" || /^application\/json\b/.test(c.req.header("accept") ?? "");
    if (wantsJson) return download(`receipt-${receipt.id}.json`, receipt);
    return receiptPage(known, receipt, of(integrations, receipt.integration));
  });

  const errorsText = readErrorsText();
  app.get("/docs/errors", (c) => show(c, errorsPage(frameOf(c), errorsText)));

  addPeoplePages(app, { api: options.api, frameOf, show, redirect });

  app.notFound((c) => show(c, notFoundPage(frameOf(c)), 404));
  app.onError((error, c) => {
    if (!(error instanceof ApiRefusal)) return show(c, brokenPage(frameOf(c), undefined), 500);
    const { status, correlationId } = error;
    if (status === 401) {
      names.forget(c.req.header("cookie") ?? "");
      if (c.req.method !== "GET") return redirect("/signin");
      return show(c, signInPage(frameOf(c), frameOf(c).here, undefined), 401);
    }
    if (status === 404) return show(c, notFoundPage(frameOf(c)), 404);
    if (status === 403) return show(c, refusedPage(frameOf(c)), 403);
    return show(c, brokenPage(frameOf(c), correlationId), status >= 400 && status < 500 ? 409 : 503);
  });
  return app;
}

/** `?lang=` and `?theme=` are chosen once: kept in a cookie, and gone from the address. */
async function remember(c: Context, next: () => Promise<void>): Promise<Response | void> {
  const url = new URL(c.req.url);
  const chosen = {
    lang: oneOf(languages, url.searchParams.get("lang")),
    theme: oneOf(themes, url.searchParams.get("theme")),
  };
  if (c.req.method !== "GET" || (chosen.lang === undefined && chosen.theme === undefined)) return next();
  for (const [name, value] of Object.entries(chosen)) {
    url.searchParams.delete(name);
    if (value !== undefined)
      setCookie(c, `tributary-${name}`, value, { path: "/", maxAge: YEAR_S, httpOnly: true, sameSite: "Lax" });
  }
  for (const [name, value] of Object.entries(securityHeaders())) c.header(name, value);
  return c.redirect(`${url.pathname}${url.search}`, 303);
}

function frame(c: Context, options: PagesOptions, assets: Assets, now: Date): Frame {
  const url = new URL(c.req.url);
  const language = chooseLanguage(undefined, getCookie(c, "tributary-lang"), c.req.header("accept-language"));
  const theme: Theme = oneOf(themes, getCookie(c, "tributary-theme")) ?? "system";
  // The answer to a form has no address of its own to come back to.
  const here = c.req.method === "GET" ? `${url.pathname}${url.search}` : "/connections";
  const { signInPath, signOutPath = "/auth/signout" } = options;
  return { speech: speak(language, now), theme, assets, now, here, signInPath, signOutPath };
}

function signInPage(known: Frame, returnTo: string, outcome: string | undefined, ticket?: string): Html {
  const { signIn } = known.speech.words;
  const where = `${known.signInPath}?returnTo=${encodeURIComponent(returnTo)}${ticket === undefined ? "" : `&ticket=${ticket}`}`;
  const said = Object.entries(signIn.outcome).find(([name]) => name === outcome)?.[1];
  return plainPage(
    known,
    signIn.title,
    html`${said === undefined ? "" : notice(outcome === "signed-out" ? "plain" : "bad", said)}
      <p class="lead">${signIn.lead}</p>
      <p>
        <a class="button primary" href="${where}">${signIn.go}</a>
      </p>`,
  );
}

const home = ({ speech }: Frame): Html =>
  html`<p><a class="button" href="/connections">${speech.words.history.back}</a></p>`;
const notFoundPage = (known: Frame): Html => {
  const { title, lead } = known.speech.words.notFound;
  return plainPage(
    known,
    title,
    html`<p class="lead">${lead}</p>
      ${home(known)}`,
  );
};
const refusedPage = (known: Frame): Html => {
  const { title, lead } = known.speech.words.refused;
  return plainPage(
    known,
    title,
    html`<p class="lead">${lead}</p>
      ${home(known)}`,
  );
};
const brokenPage = (known: Frame, correlationId: string | undefined): Html => {
  const { broken, outcome } = known.speech.words;
  const reference =
    correlationId === undefined ? "" : html`<p>${outcome.correlation}: <code>${correlationId}</code></p>`;
  return plainPage(
    known,
    broken.title,
    html`<p class="lead">${broken.lead}</p>
      ${reference}${home(known)}`,
  );
};

/** Indentation is for us alone: it stays here. */
const show = async (
  c: Context,
  content: Html,
  status: 200 | 401 | 403 | 404 | 409 | 500 | 503 = 200,
  formTargets: readonly string[] = [],
): Promise<Response> => c.html((await content).replaceAll(/\n\s+/g, "\n"), status, { ...securityHeaders(formTargets) });

const redirect = (location: string): Response =>
  new Response(null, { status: 303, headers: { ...securityHeaders(), location } });

const download = (name: string, body: unknown): Response =>
  new Response(JSON.stringify(body, null, 2), {
    headers: {
      ...securityHeaders(),
      "content-type": "application/json",
      "content-disposition": `attachment; filename="${name}"`,
    },
  });

const of = (integrations: readonly Integration[], id: string): Integration | undefined =>
  integrations.find((one) => one.id === id);
const oneOf = <T extends string>(known: readonly T[], value: string | null | undefined): T | undefined =>
  known.find((one) => one === value);
/** A query parameter that is an id or a code, and nothing that somebody could write a message with. */
const plain = (c: Context, name: string): string | undefined => text(c.req.query(name));
const text = (value: unknown): string | undefined =>
  typeof value === "string" && /^[A-Za-z0-9_.-]{1,64}$/.test(value) ? value : undefined;
