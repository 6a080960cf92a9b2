import { Code, ConnectError, createContextKey, type HandlerContext } from "@connectrpc/connect";
import type { Identity, Permission } from "@tributary/auth";
import { type ErrorCode, errors } from "@tributary/contracts";
import type { Caller } from "@tributary/integrations";

/** Whoever was let in, or why nobody was: the protocol's own words for that are found where the request is understood. */
export const IDENTITY = createContextKey<Identity | ConnectError | undefined>(undefined);

/** Whoever asks. */
export function identityOf(context: Pick<HandlerContext, "values">): Identity {
  const who = context.values.get(IDENTITY) ?? refused("missing_authorization");
  if (who instanceof ConnectError) throw who;
  return who;
}

/** As the owner of connections: a person's are theirs, a service's are its organisation's. */
export function callerOf(context: Pick<HandlerContext, "values">): Caller {
  const identity = identityOf(context);
  const { organizationId, name } = identity;
  const owner: Caller["owner"] =
    identity.kind === "user" ? { kind: "user", id: identity.userId } : { kind: "organization", id: organizationId };
  return { organizationId, owner, name };
}

/** @throws ConnectError insufficient_permissions. */
export function demand(context: Pick<HandlerContext, "values">, permission: Permission): void {
  if (!identityOf(context).permissions.includes(permission)) throw refused("insufficient_permissions");
}

/** A refusal as Connect has it: the code first, because tools show only the message. Quotes no input. */
export function refused(code: ErrorCode, message = ""): ConnectError {
  const error = new ConnectError(message === "" ? code : `${code}: ${message}`, connectCode(code));
  error.metadata.set("tributary-error", code);
  return error;
}

/** What is not there and what is somebody else's, byte for byte the same. */
export const notThere = (): ConnectError => refused("not_found", "There is nothing here by that id.");

/** Whoever finds it first: the guard, which looks for organisations in the body, or who reads the message. */
export const tooLarge = (): ConnectError => refused("payload_too_large", "the request has more than 1 MiB");

export const invalid = (message: string): ConnectError => refused("validation_failed", message);

const connectCode = (code: ErrorCode): Code => {
  const name = errors[code].connect.replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return Code[name as keyof typeof Code];
};
