import { Auth, type AuthConfig, customFetch, skipCSRFCheck } from "@auth/core";
import { type Cookies, isLoopback, readCookie } from "./cookies.ts";
import { returnTo } from "./return-to.ts";

/** Signing in with one OpenID provider. The only place that knows Auth.js. */
export interface SignIn {
  /** Sends the browser to the provider. @throws SignInFailed when the provider cannot be asked. */
  begin(wanted: string): Promise<Redirect>;
  /** Reads the provider's answer. @throws SignInFailed when it proves nothing; {@link Redirect.cookies} are to be set all the same. */
  finish(request: Request): Promise<Redirect & { readonly person: Person }>;
}

export interface Redirect {
  readonly location: string;
  /** Values of `Set-Cookie`. */
  readonly cookies: readonly string[];
}

/** Whom the provider vouches for. Issuer and subject identify; the rest is for display. */
export interface Person {
  readonly issuer: string;
  readonly subject: string;
  readonly name: string;
  readonly email: string;
  /** The provider says that it has made sure of the address (OpenID Core §5.1). */
  readonly emailVerified: boolean;
}

export class SignInFailed extends Error {
  override readonly name = "SignInFailed";
  readonly code: "denied" | "refused" | "unavailable";
  constructor(code: SignInFailed["code"]) {
    super(`sign-in ${code}`);
    this.code = code;
  }
}

export interface SignInOptions {
  readonly origin: string;
  readonly cookies: Cookies;
  /** Seals the cookies of a sign-in under way. At least 32 characters. */
  readonly secret: string;
  readonly provider: { readonly issuer: string; readonly clientId: string; readonly clientSecret: string };
  readonly fetch: typeof fetch;
}

const PROVIDER_TIMEOUT_MS = 10_000;
const TEXT_MAX = 200;
/** Auth.js' own cookies that we let through; its session is not among them. */
const CHECKS = ["state", "pkceCodeVerifier", "nonce", "callbackUrl"] as const;

/**
 * Auth.js as an OpenID client and nothing else. It links the account that comes back to whatever session it finds in the
 * request, and would keep the provider's tokens: so it is given no adapter, no session, and only its own check cookies;
 * `jwt` answers null, which makes it issue no session either. What it has proven leaves through the `signIn` callback,
 * without tokens. State, PKCE and nonce are bound to the browser by sealed cookies, so nobody finishes a sign-in in
 * somebody else's browser.
 */
export function signInWith(options: SignInOptions): SignIn {
  const { origin, cookies, provider } = options;
  const ask = providerFetch(options);
  const run = async (request: Request): Promise<{ response: Response; person?: Person }> => {
    let person: Person | undefined;
    const config: AuthConfig = {
      basePath: "/auth",
      secret: options.secret,
      // The request is rebuilt on the configured origin: no header decides where callbacks lead.
      trustHost: true,
      skipCSRFCheck,
      useSecureCookies: cookies.secure,
      cookies: Object.fromEntries(
        CHECKS.map((check) => [
          check,
          {
            name: cookies.name(check),
            options: { httpOnly: true, sameSite: "lax", path: "/", secure: cookies.secure, maxAge: 900 },
          },
        ]),
      ),
      pages: { error: "/signin", signIn: "/signin" },
      // Messages and causes of Auth.js may quote what the provider answered.
      logger: { error: () => {}, warn: () => {}, debug: () => {} },
      providers: [
        {
          id: "oidc",
          name: "OpenID",
          type: "oidc",
          issuer: provider.issuer,
          clientId: provider.clientId,
          clientSecret: provider.clientSecret,
          checks: ["pkce", "state", "nonce"],
          // Claims from the userinfo endpoint: not every provider repeats them in the ID token (OpenID Core §5.4).
          idToken: false,
          account: () => ({}),
          profile: (claims) => ({ id: String(claims.sub) }),
          [customFetch]: ask,
        },
      ],
      callbacks: {
        signIn: ({ profile }) => {
          person = describe(provider.issuer, profile);
          return person !== undefined;
        },
        jwt: () => null,
        redirect: ({ url }) => `${origin}${returnTo(url.startsWith(origin) ? url.slice(origin.length) : url)}`,
      },
    };
    const response = await Auth(request, config);
    return person === undefined ? { response } : { response, person };
  };
  return {
    begin: async (wanted) => {
      const { response } = await run(
        new Request(`${origin}/auth/signin/oidc`, {
          method: "POST",
          body: new URLSearchParams({ callbackUrl: `${origin}${returnTo(wanted)}` }),
        }),
      );
      const location = response.headers.get("location");
      if (location === null || new URL(location).origin === origin) throw new SignInFailed("unavailable");
      return { location, cookies: response.headers.getSetCookie() };
    },
    finish: async (request) => {
      const { search, searchParams } = new URL(request.url);
      if (searchParams.get("error") === "access_denied") throw new SignInFailed("denied");
      // One value a parameter (RFC 6749 §3.1); Auth.js would take the last.
      if (new Set(searchParams.keys()).size !== searchParams.size) throw new SignInFailed("refused");
      const checks = CHECKS.map((check) => cookies.name(check)).flatMap((name) => {
        const value = readCookie(request, name);
        return value === undefined ? [] : [`${name}=${value}`];
      });
      const { response, person } = await run(
        new Request(`${origin}/auth/callback/oidc${search}`, { headers: { cookie: checks.join("; ") } }),
      );
      if (person === undefined) throw new SignInFailed("refused");
      const location = response.headers.get("location")?.slice(origin.length);
      return { person, location: returnTo(location), cookies: CHECKS.map((check) => cookies.clear(check)) };
    },
  };
}

/** Auth.js allows plain http everywhere; we allow it to a provider on loopback alone. No redirect is followed. */
function providerFetch({ provider, fetch }: SignInOptions): typeof fetch {
  const plain = isLoopback(new URL(provider.issuer));
  if (!plain && new URL(provider.issuer).protocol !== "https:") throw new TypeError("the issuer must be https");
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    if (url.protocol !== "https:" && !(plain && isLoopback(url))) throw new TypeError("provider endpoint is not https");
    return fetch(input, { ...init, redirect: "error", signal: AbortSignal.timeout(PROVIDER_TIMEOUT_MS) });
  };
}

function describe(issuer: string, claims: Readonly<Record<string, unknown>> | undefined): Person | undefined {
  const text = (...names: readonly string[]): string => {
    for (const name of names) {
      const value = claims?.[name];
      if (typeof value === "string" && value.trim() !== "") return value.trim().slice(0, TEXT_MAX);
    }
    return "";
  };
  const subject = claims?.["sub"];
  // At most 255 ASCII characters (OpenID Core §2).
  if (typeof subject !== "string" || subject === "" || subject.length > 255) return undefined;
  // Some providers send the word instead of the value.
  const emailVerified = [true, "true"].includes(claims?.["email_verified"] as boolean | string);
  return { issuer, subject, name: text("name", "preferred_username", "email"), email: text("email"), emailVerified };
}
