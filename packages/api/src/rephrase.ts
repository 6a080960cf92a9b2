import type { DescMessage } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { UniversalServerResponse } from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  createEndStreamSerialization,
  endStreamFlag,
  endStreamFromJson,
  errorFromJsonBytes,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus, trailerFlag, trailerParse, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { refused, tooLarge } from "./rpc-context.ts";

/** Every code of the protocol. */
const CODES = Object.values(Code).filter((each): each is Code => typeof each === "number");

/** Carries our code on every refusal that is ours. */
const OURS = "tributary-error";

/**
 * The answer, with what the protocol's own code says of a malformed request put into our words. It finds the mistake
 * before any service or interceptor is asked, and quotes the request; here is the first place where that can be seen.
 * At most the name of a field goes out, and that comes from the contract.
 */
export async function rephrase(
  response: UniversalServerResponse,
  input: DescMessage,
): Promise<UniversalServerResponse> {
  const { body, header = new Headers() } = response;
  if (body === undefined) return response;
  const type = header.get("content-type") ?? "";
  if (type === "application/json" && response.status >= 400 && !header.has(OURS)) return unary(response, body, input);
  if (type.startsWith("application/connect+")) return { ...response, body: framed(body, endStreamFlag, endOf) };
  if (type.startsWith("application/grpc-web")) return { ...response, body: framed(body, trailerFlag, trailerOf) };
  return response;

  function endOf(bytes: Uint8Array): Uint8Array {
    const { metadata, error } = endStreamFromJson(bytes);
    if (error === undefined || metadata.has(OURS)) return bytes;
    return createEndStreamSerialization(undefined).serialize({ metadata, error: inOurWords(error, input) });
  }

  function trailerOf(bytes: Uint8Array): Uint8Array {
    const trailer = trailerParse(bytes);
    const code = Number(trailer.get("grpc-status"));
    if (code === 0 || trailer.has(OURS)) return bytes;
    const known = CODES.find((each: number) => each === code) ?? Code.Unknown;
    const said = decodeURIComponent(trailer.get("grpc-message") ?? "");
    setTrailerStatus(trailer, inOurWords(new ConnectError(said, known), input));
    return trailerSerialize(trailer);
  }
}

async function unary(
  response: UniversalServerResponse,
  body: AsyncIterable<Uint8Array>,
  input: DescMessage,
): Promise<UniversalServerResponse> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  const unknown = new ConnectError("", Code.Internal);
  const error = inOurWords(errorFromJsonBytes(Buffer.concat(chunks), undefined, unknown), input);
  const bytes = errorToJsonBytes(error, undefined);
  const header = new Headers(response.header);
  error.metadata.forEach((value, key) => header.set(key, value));
  header.set("content-length", String(bytes.byteLength));
  return { ...response, status: codeToHttpStatus(error.code), header, body: once(bytes) };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/**
 * The envelopes of a stream, of which the protocol's code yields each in one piece. Ending and failing are handed on as
 * they come: a generator would keep them waiting for the next event.
 */
function framed(
  body: AsyncIterable<Uint8Array>,
  flag: number,
  change: (data: Uint8Array) => Uint8Array,
): AsyncIterable<Uint8Array> {
  return {
    [Symbol.asyncIterator]() {
      const inner = body[Symbol.asyncIterator]();
      return {
        next: async () => {
          const step = await inner.next();
          if (step.done === true || ((step.value[0] ?? 0) & flag) === 0) return step;
          const data = change(step.value.subarray(HEAD_BYTES));
          const bytes = Buffer.alloc(HEAD_BYTES + data.byteLength);
          bytes[0] = flag;
          bytes.writeUInt32BE(data.byteLength, 1);
          bytes.set(data, HEAD_BYTES);
          return { done: false, value: new Uint8Array(bytes) };
        },
        return: async (value?: unknown) => (await inner.return?.(value)) ?? { done: true, value },
        throw: async (error?: unknown) => {
          if (inner.throw === undefined) throw error;
          return inner.throw(error);
        },
      };
    },
  };
}

/** A flag and a length. */
const HEAD_BYTES = 5;

/** @param error of the protocol's own code, which speaks of the request in the request's words. */
function inOurWords({ code, rawMessage }: ConnectError, input: DescMessage): ConnectError {
  switch (code) {
    case Code.InvalidArgument:
      return misread(rawMessage, input);
    case Code.ResourceExhausted:
      return tooLarge();
    case Code.Unimplemented:
      return refused("unsupported_media_type", "the request must be one message, not compressed");
    case Code.Canceled:
      return new ConnectError("the call was given up", code);
    case Code.DeadlineExceeded:
      return new ConnectError("the time that the request allowed has passed", code);
    default:
      return rawMessage.startsWith("parse binary: ")
        ? refused("malformed_body", `the body is no ${input.typeName}`)
        : refused("internal_error", "Something went wrong on our side.");
  }
}

/** What `fromJson` of @bufbuild/protobuf 2.17 says begins with what it could not read, by its name in the contract. */
function misread(said: string, input: DescMessage): ConnectError {
  const [, kind, name] = /^cannot decode (field|enum|message) ([\w.]+) from JSON\b/.exec(said) ?? [];
  if (kind === undefined) return refused("malformed_body", "the request is not what its headers say");
  const fields = input.fields.filter((field) =>
    kind === "field" ? `${input.typeName}.${field.name}` === name : (field.enum ?? field.message)?.typeName === name,
  );
  if (fields.length > 0)
    return refused(
      "validation_failed",
      `${fields.map((field) => field.name).join(" or ")} does not hold what it should`,
    );
  if (!/ from JSON: key "[^]*" is unknown$/.test(said))
    return refused("malformed_body", "the body is not one JSON object, each name in it once");
  const known = input.fields.map((field) => field.name).join(", ");
  return refused("validation_failed", `there is a field that is none of ${input.name}'s: ${known || "it has none"}`);
}
