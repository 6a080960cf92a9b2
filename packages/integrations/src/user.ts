import {
  type Account,
  ClientInvalid,
  type Connector,
  ContractViolation,
  type Json,
  readJson,
  ReauthRequired,
  type RequestOptions,
  Retryable,
  type User,
} from "@tributary/sdk";
import {
  type CredentialScope,
  type CredentialSession,
  type CredentialUse,
  type Vault,
  VaultError,
} from "@tributary/vault";
import type { Throttle } from "./throttle.ts";

export interface UserContext {
  readonly vault: Vault;
  readonly connector: Connector;
  readonly scope: CredentialScope;
  readonly connectionId: string;
  readonly account: Account | undefined;
  readonly apiVersion: string;
  readonly backfillFrom: Date;
  readonly purpose: CredentialUse["purpose"];
  readonly correlationId: string;
  readonly signal: AbortSignal;
  readonly throttle: Throttle;
  readonly now: () => Date;
  readonly log: (message: string, fields: Readonly<Record<string, Json>>) => void;
  /** Starts consent; only where somebody is at the browser. */
  readonly begin?: User["begin"];
}

/** Builds the capability that a connector is given, on one credential, for one purpose. */
export function createUser(context: UserContext): User {
  const { vault, connector, scope, signal, throttle } = context;
  const session: CredentialSession = vault.open(scope, {
    spec: connector.auth,
    hosts: connector.manifest.hosts,
    purpose: context.purpose,
    correlationId: context.correlationId,
    signal,
  });
  const fetch = async (url: string, options: RequestOptions = {}): Promise<Response> => {
    await throttle.turn(context.connectionId, connector.manifest.rateLimit, signal);
    return session.fetch(url, options).catch((error: unknown) => Promise.reject(instruction(error)));
  };
  return {
    id: scope.owner.id,
    organizationId: scope.organizationId,
    connectionId: context.connectionId,
    account: context.account,
    apiVersion: context.apiVersion,
    backfillFrom: context.backfillFrom,
    signal,
    now: context.now,
    log: (message, fields = {}) => context.log(message, fields),
    fetch,
    json: async (schema, url, options) => readJson(schema, await fetch(url, options), context.now),
    begin: context.begin ?? (() => Promise.reject(new Error("begin: nobody is at the browser"))),
    forget: async () => {
      await session.revoke().catch((error: unknown) => Promise.reject(instruction(error)));
    },
  };
}

/** Asked again in an hour, however often it was before: somebody has to correct it first. */
const CLIENT_RETRY_MS = 3_600_000;

export const clientInvalid = (cause?: unknown): ClientInvalid =>
  new ClientInvalid("The provider does not accept the OAuth client. Its id or secret has to be corrected.", {
    retryAfterMs: CLIENT_RETRY_MS,
    cause,
  });

/** What the vault refused, as the instruction that a connector would give. Anything unknown stays a bug. */
export function instruction(error: unknown): unknown {
  if (!(error instanceof VaultError)) return error;
  switch (error.code) {
    case "reauth_required":
    case "credential_missing":
      return new ReauthRequired("The provider no longer accepts the credential.", { cause: error });
    case "provider_unavailable":
      return new Retryable("The provider did not answer.", { cause: error });
    case "audit_unavailable":
      return new Retryable("The access could not be recorded, so nothing was sent.", { cause: error });
    case "oauth_client_invalid":
      return clientInvalid(error);
    case "url_not_allowed":
    case "response_too_large":
      return new ContractViolation(`The request was refused: ${error.code}.`, { cause: error });
    default:
      return error;
  }
}
