import { Code, ConnectError } from "@connectrpc/connect";
import { CommandFailure, EXIT } from "./command-line.ts";
import { ANSWER_MS_MAX, type Hub } from "./hub.ts";

/** What somebody is told who named what is not there. */
export interface Missing {
  /** What there is not, as the rest of a sentence: "event by that id". */
  readonly what: string;
  /** A whole sentence: the command that lists what is. */
  readonly next: string;
  /** Default `failed`. */
  readonly exit?: number;
}

/**
 * Runs what talks to the hub, and turns the hub's refusals into ends with an exit code of their own.
 * @throws CommandFailure.
 */
export async function asking<T>(hub: Hub, work: () => Promise<T>, missing?: Missing): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof ConnectError ? failureOf(hub, error, missing) : error;
  }
}

/**
 * Asks an address of the hub that is none of a service's.
 * @param missing What a 404 means.
 * @throws CommandFailure unless the answer is a 2xx.
 */
export async function fetchFrom(
  hub: Hub,
  path: string,
  init: RequestInit = {},
  missing = "this hub has no such address; is it older than this program?",
): Promise<Response> {
  const headers = { ...(init.headers as Record<string, string>), authorization: `Bearer ${hub.token}` };
  let answer: Response;
  try {
    answer = await fetch(new URL(path, hub.origin), { ...init, headers, redirect: "manual" });
  } catch (error) {
    if (init.signal?.aborted === true) throw error;
    throw away(hub, error);
  }
  if (answer.ok) return answer;
  const { status } = answer;
  const { error = "", message = "" } = (await answer.json().catch(() => ({}))) as Record<string, string>;
  if (error === "") throw noHub(hub, status);
  const said = message === "" ? error : `${error}: ${message}`;
  if (status === 404) throw new CommandFailure(EXIT.failed, missing);
  throw refusal(hub, said, CODE_OF[status] ?? (status >= 500 ? Code.Unavailable : Code.Unknown));
}

const CODE_OF: Readonly<Record<number, Code>> = {
  400: Code.InvalidArgument,
  401: Code.Unauthenticated,
  403: Code.PermissionDenied,
  422: Code.InvalidArgument,
};

/** What the hub, or the road to it, says, as the end of a command. */
export function failureOf(hub: Hub, error: ConnectError, missing?: Missing): CommandFailure {
  const { code, rawMessage, cause } = error;
  if (codeIn(cause) !== undefined) return away(hub, cause);
  const [, status] = /^HTTP (\d{3})$/.exec(rawMessage) ?? [];
  if (status !== undefined || rawMessage.startsWith("unsupported content type"))
    return noHub(hub, Number(status ?? 200));
  if (code === Code.DeadlineExceeded)
    return new CommandFailure(EXIT.unreachable, `${hub.origin} has not answered within ${ANSWER_MS_MAX / 1_000} s`);
  if (code === Code.NotFound && missing !== undefined)
    return new CommandFailure(missing.exit ?? EXIT.failed, `not_found: there is no ${missing.what}. ${missing.next}`);
  return refusal(hub, rawMessage, code);
}

function refusal({ origin, tokenFrom }: Hub, said: string, code: Code): CommandFailure {
  const exit = EXIT_OF[code] ?? EXIT.failed;
  if (code === Code.Unauthenticated)
    return new CommandFailure(exit, `${said}: the hub at ${origin} does not know the key of ${tokenFrom}`);
  if (code === Code.PermissionDenied)
    return new CommandFailure(exit, `${said}: whoever has the key of ${tokenFrom} may not do this`);
  return new CommandFailure(exit, said);
}

const EXIT_OF: Partial<Record<Code, number>> = {
  [Code.InvalidArgument]: EXIT.usage,
  [Code.Unavailable]: EXIT.unreachable,
  [Code.DeadlineExceeded]: EXIT.unreachable,
  [Code.Unauthenticated]: EXIT.notAllowed,
  [Code.PermissionDenied]: EXIT.notAllowed,
  [Code.Unimplemented]: EXIT.contract,
};

const ELSEWHERE = "--url or TRIBUTARY_URL say where it is";

/** @param cause whatever kept the request from arriving. */
function away({ origin }: Hub, cause: unknown): CommandFailure {
  const code = codeIn(cause) ?? "";
  if (/^(EPROTO|ERR_SSL|ERR_TLS|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HPE_)/.test(code))
    return new CommandFailure(
      EXIT.unreachable,
      `no connection with ${origin} (${code}): is it http:// or https://, and does this machine trust its certificate?`,
    );
  return new CommandFailure(
    EXIT.unreachable,
    `no hub answers at ${origin}. \`npm start\` starts one on this machine; ${ELSEWHERE}.`,
  );
}

const noHub = ({ origin }: Hub, status: number): CommandFailure =>
  new CommandFailure(EXIT.unreachable, `what answers at ${origin} is no hub (HTTP ${status}); ${ELSEWHERE}`);

/** The system's own name of what went wrong, wherever a library has put it; the hub's words come without one. */
function codeIn(error: unknown): string | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++)
    if ("code" in at && typeof at.code === "string") return at.code;
  return undefined;
}
