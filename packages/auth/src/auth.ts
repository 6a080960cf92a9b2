import type { Database } from "@tributary/db";
import { checkOrigin } from "./check-origin.ts";
import { cookiesOf, isLoopback } from "./cookies.ts";
import type { Authenticator, UserIdentity } from "./identity.ts";
import { returnTo } from "./return-to.ts";
import { openSession } from "./open-session.ts";
import type { AppendAudit } from "./people-options.ts";
import { readBody } from "./read-body.ts";
import {
  closeSession,
  closeSessionsOf,
  readSession,
  SESSION_MAX_MS,
  sweepSessions,
  switchSession,
} from "./session-rows.ts";
import { type Person, SignInFailed, signInWith } from "./session.ts";
import { isToken, tokenHash } from "./token-hash.ts";

export interface AuthOptions {
  readonly database: Database;
  /** Public origin. https, or http on loopback. */
  readonly origin: string;
  /** At least 32 characters; seals the cookies of a sign-in under way. Changing it ends those and no session. */
  readonly secret: string;
  /** An OpenID provider with discovery. Its redirect URI is `<origin>/auth/callback/oidc`. */
  readonly provider: { readonly issuer: string; readonly clientId: string; readonly clientSecret: string };
  /** Where people land when they sign in. Created when missing. The id is lower-case: `[a-z0-9][a-z0-9_-]{0,62}`. */
  readonly organization: { readonly id: string; readonly name: string };
  /** Who joined, and by which link. */
  readonly audit: AppendAudit;
  readonly now: () => Date;
  /**
   * Whether somebody who was never here may join without an invitation or an administrator's link. Default: everybody when
   * the provider is on loopback (the sandbox), nobody otherwise, for a public provider vouches for half the world.
   */
  readonly admits?: (person: Person) => boolean;
  /** Default: the global one. */
  readonly fetch?: typeof fetch;
}

export interface Auth {
  /**
   * Serves `/auth/*`. GET `/auth/signin?returnTo=<path>&ticket=<token of a link>` leads to the provider, GET
   * `/auth/callback/oidc` comes back, spends the ticket and opens the session, POST `/auth/organization` with a form of
   * `organization` and `returnTo` exchanges it for one of another membership, POST `/auth/signout` ends it. Every answer
   * that goes wrong leads to the page
   * `/signin?outcome=denied|refused|unavailable|not-invited|link-ended|other-address|signed-out`, or to
   * `/organizations?outcome=elsewhere`.
   */
  readonly handler: (request: Request) => Promise<Response>;
  /** By the session's cookie. */
  readonly authenticator: Authenticator<UserIdentity>;
  /** Ends one session, by {@link UserIdentity.sessionHash}. */
  signOut(hash: string): Promise<void>;
  signOutEverywhere(organizationId: string, userId: string): Promise<void>;
  /** Deletes expired sessions; once an hour is plenty. @returns how many. */
  sweep(): Promise<number>;
}

/** Browser sessions. @throws TypeError for options that would be unsafe. */
export function createAuth(options: AuthOptions): Auth {
  const { database, origin, now, provider } = options;
  if (options.secret.length < 32) throw new TypeError("the secret must have at least 32 characters");
  const cookies = cookiesOf(origin);
  const signIn = signInWith({ ...options, cookies, fetch: options.fetch ?? fetch });
  const admits = options.admits ?? (() => isLoopback(new URL(provider.issuer)));

  const begin = async (request: Request): Promise<Response> => {
    const wanted = returnTo(new URL(request.url).searchParams.get("returnTo"));
    // Another site may lead here but not start a sign-in: the page it lands on asks for a click.
    if (request.headers.get("sec-fetch-site") === "cross-site") return redirect(wanted, []);
    const { location, cookies: checks } = await signIn.begin(wanted);
    const ticket = new URL(request.url).searchParams.get("ticket") ?? "";
    // The ticket stays in this browser while the provider is asked; one of an earlier try is dropped.
    const earlier = cookies.read(request, "ticket") === undefined ? [] : [cookies.clear("ticket")];
    return redirect(location, [...checks, ...(isToken(ticket) ? [cookies.set("ticket", ticket, TICKET_S)] : earlier)]);
  };

  const finish = async (request: Request): Promise<Response> => {
    const { person, location, cookies: cleared } = await signIn.finish(request);
    const ticket = cookies.read(request, "ticket");
    const spent = [...cleared, ...(ticket === undefined ? [] : [cookies.clear("ticket")])];
    const opened = await openSession(database, {
      organization: options.organization,
      person,
      admits: admits(person),
      ticket: ticket === undefined || !isToken(ticket) ? undefined : ticket,
      previousToken: cookies.read(request, "session"),
      audit: options.audit,
      now: now(),
    });
    if ("turnedAway" in opened) return redirect(`/signin?outcome=${opened.turnedAway}`, spent);
    return redirect(location, [...spent, cookies.set("session", opened.token, SESSION_MAX_MS / 1000)]);
  };

  const switchOrganization = async (request: Request): Promise<Response> => {
    if (!checkOrigin(request, origin)) return refusal(403, "csrf_rejected");
    const form = new URLSearchParams((await readBody(request, FORM_BYTES_MAX))?.toString("utf8"));
    const token = cookies.read(request, "session");
    if (token === undefined) return redirect("/signin", []);
    const organizationId = form.get("organization") ?? "";
    const switched = await switchSession(database, { token, organizationId, now: now() });
    // The same for one that is not theirs and one that is nobody's.
    if (switched === undefined) return redirect("/organizations?outcome=elsewhere", []);
    const seconds = Math.floor((switched.expiresAt.getTime() - now().getTime()) / 1000);
    return redirect(returnTo(form.get("returnTo")), [cookies.set("session", switched.token, seconds)]);
  };

  const signOut = async (request: Request): Promise<Response> => {
    if (!checkOrigin(request, origin)) return refusal(403, "csrf_rejected");
    const token = cookies.read(request, "session");
    if (token !== undefined) await closeSession(database, tokenHash(token));
    return redirect("/signin?outcome=signed-out", [cookies.clear("session")]);
  };

  const routes: Readonly<Record<string, (request: Request) => Promise<Response>>> = {
    "GET /auth/signin": begin,
    "GET /auth/callback/oidc": finish,
    "POST /auth/organization": switchOrganization,
    "POST /auth/signout": signOut,
  };
  return {
    handler: async (request) => {
      const route = routes[`${request.method} ${new URL(request.url).pathname}`];
      if (route === undefined) return refusal(404, "not_found");
      try {
        return await route(request);
      } catch (error) {
        if (!(error instanceof SignInFailed)) throw error;
        return redirect(`/signin?outcome=${error.code}`, []);
      }
    },
    authenticator: {
      authenticate: async (request) => {
        const token = cookies.read(request, "session");
        return token === undefined ? undefined : readSession(database, token, now());
      },
    },
    signOut: (hash) => closeSession(database, hash),
    signOutEverywhere: (organizationId, userId) => closeSessionsOf(database, organizationId, userId),
    sweep: () => sweepSessions(database, now()),
  };
}

/** As long as a sign-in may take. */
const TICKET_S = 900;
const FORM_BYTES_MAX = 4096;

/** No answer here is a page, may be kept, or tells the next site where it came from. */
const PRIVATE = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

function redirect(location: string, cookies: readonly string[]): Response {
  const headers = new Headers({ ...PRIVATE, location });
  for (const cookie of cookies) headers.append("set-cookie", cookie);
  return new Response(null, { status: 303, headers });
}

const refusal = (status: number, error: string): Response => Response.json({ error }, { status, headers: PRIVATE });
