import { JetStreamApiError } from "@nats-io/jetstream";
import { errors } from "@nats-io/transport-node";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { BrokerTrouble, outcome, troubleReason } from "./broker-answers.ts";

const refusedWith = (err_code: number, description = "") => outcome({ error: { code: 400, err_code, description } });

describe("an answer to a published event", () => {
  it("is where it is stored, or was", () => {
    expect(outcome({ seq: 7 })).toEqual({ kind: "stored", streamSequence: 7 });
    expect(outcome({ seq: 7, duplicate: true })).toEqual({ kind: "duplicate", streamSequence: 7 });
  });

  it.each([
    [10_070, "wrong last msg ID: x", { kind: "out_of_turn" }],
    [10_071, "wrong last sequence: 4", { kind: "out_of_turn" }],
    [10_164, "wrong last sequence", { kind: "out_of_turn" }],
    [10_054, "message size exceeds maximum allowed", { kind: "poison", reason: "message_too_large" }],
    [10_097, "header size exceeds maximum allowed of 64k", { kind: "poison", reason: "headers_too_large" }],
    [10_023, "insufficient resources", { kind: "unavailable", reason: "insufficient_resources" }],
    [10_047, "insufficient storage resources available", { kind: "unavailable", reason: "insufficient_storage" }],
    [10_002, "resource limits exceeded for account", { kind: "unavailable", reason: "account_limit_reached" }],
    [10_008, "JetStream system temporarily unavailable", { kind: "unavailable", reason: "jetstream_unavailable" }],
    [10_109, "invalid operation on sealed stream", { kind: "unavailable", reason: "stream_sealed" }],
    [10_158, "duplicate message id is in process", { kind: "unavailable", reason: "duplicate_in_process" }],
    [10_077, "maximum bytes exceeded", { kind: "unavailable", reason: "stream_full" }],
    [10_077, "maximum messages exceeded", { kind: "unavailable", reason: "stream_full" }],
    [10_077, "write /data: no space left on device", { kind: "unavailable", reason: "store_failed" }],
    [10_077, "maximum messages per subject exceeded", { kind: "refused", reason: "refused_10077" }],
    [10_999, "something new", { kind: "refused", reason: "refused_10999" }],
  ])("%i, %s, is known for what it is", (code, description, expected) => {
    expect(refusedWith(code, description)).toEqual(expected);
  });

  it("without anything known is refused for now", () => {
    expect(outcome({})).toEqual({ kind: "refused", reason: "refused_unknown" });
    expect(outcome({ error: { code: 503 } })).toEqual({ kind: "refused", reason: "refused_503" });
  });
});

const apiError = (err_code: number) => new JetStreamApiError({ code: 503, err_code, description: "words" });
const database = new Error("query failed", { cause: Object.assign(new Error("x"), { code: "57P01" }) });

describe("why the relay waits", () => {
  it.each([
    ["what was found out", new BrokerTrouble("stream_full"), "stream_full"],
    ["JetStream without a leader", apiError(10_008), "jetstream_unavailable"],
    ["overlapping subjects", apiError(10_065), "jetstream_10065"],
    ["a password that is refused", new errors.AuthorizationError("x"), "authorization_refused"],
    ["a token that expired", new errors.UserAuthenticationExpiredError("x"), "authorization_expired"],
    ["no answer", new errors.TimeoutError(), "no_answer"],
    ["no answer to a request", new errors.RequestError("x", { cause: new errors.TimeoutError() }), "no_answer"],
    ["nobody who listens", new errors.NoRespondersError("x"), "jetstream_unavailable"],
    ["a connection that is closed", new errors.ClosedConnectionError(), "no_connection"],
    ["PostgreSQL that shuts down", database, "database_57p01"],
    ["a mistake of ours", new TypeError("secret"), "TypeError"],
    ["anything else", "secret", "unknown"],
  ])("is a code without words of others: %s", (_, error, reason) => {
    expect(troubleReason(error)).toBe(reason);
  });
});

it("has a row in the page for operators, whatever the reason", () => {
  const page = readFileSync(new URL("../../../docs/OPERATIONS.md", import.meta.url), "utf8");
  const code = readFileSync(new URL("broker-answers.ts", import.meta.url), "utf8");
  const connection = readFileSync(new URL("nats-connection.ts", import.meta.url), "utf8");
  const reading = readFileSync(new URL("stream-messages.ts", import.meta.url), "utf8");
  const reasons = [...(code + connection + reading).matchAll(/"([a-z]+(?:_[a-z]+)+)"/g)].map(
    ([, reason = ""]) => reason,
  );
  const kinds = new Set(["out_of_turn"]);
  const told = [...new Set(reasons)].filter((reason) => !kinds.has(reason) && reason !== "refused_unknown");
  expect(told.length).toBeGreaterThan(12);
  expect(told.filter((reason) => !page.includes(`\`${reason}\``))).toEqual([]);
});
