import { DrizzleQueryError } from "drizzle-orm/errors";
import { describe, expect, it } from "vitest";
import { asUnavailable, DatabaseUnavailable, databaseUnavailableIn } from "./unavailable.ts";

const failed = (code: string): Error => Object.assign(new Error(`failed: ${code}`), { code });

describe("what says that the database was unavailable", () => {
  it.each([
    ["its server is not there", "ECONNREFUSED"],
    ["the connection is reset", "ECONNRESET"],
    ["the wire is dead", "ETIMEDOUT"],
    ["the wire is gone", "EPIPE"],
    ["its name is not known just now", "EAI_AGAIN"],
    ["the process has no file left for a connection", "EMFILE"],
    ["the driver lost the connection", "CONNECTION_CLOSED"],
    ["the driver is closing", "CONNECTION_ENDED"],
    ["the driver waited for a connection in vain", "CONNECT_TIMEOUT"],
    ["a connection failed", "08006"],
    ["it ends as an administrator wants", "57P01"],
    ["it crashed", "57P02"],
    ["it starts up", "57P03"],
    ["the session waited for too long", "57P05"],
    ["the statement was cancelled", "57014"],
    ["there are too many connections", "53300"],
    ["its disk is full", "53100"],
    ["its system failed", "58030"],
    ["it only reads", "25006"],
    ["two transactions cannot be put in order", "40001"],
    ["two transactions wait for each other", "40P01"],
    ["a lock was not had in time", "55P03"],
    ["its password has changed", "28P01"],
    ["the database is being put back", "3D000"],
  ])("%s (%s)", (_why, code) => {
    const seen = asUnavailable(failed(code));
    expect(seen).toBeInstanceOf(DatabaseUnavailable);
    expect(seen).toMatchObject({ code, message: `the database was unavailable: ${code}`, cause: { code } });
    expect(databaseUnavailableIn(seen)).toBeDefined();
  });

  it.each([
    ["a row is there already", failed("23505")],
    ["a value cannot be stored", failed("22P05")],
    ["a right is missing", failed("42501")],
    ["the transaction failed before", failed("25P02")],
    ["what is stored is damaged", failed("XX001")],
    ["a function says so", failed("P0002")],
    ["the driver is used wrongly", failed("UNSAFE_TRANSACTION")],
    ["a number is no code", Object.assign(new Error("x"), { code: 53_300 })],
    ["a bug", new TypeError("x")],
    ["no error at all", "53300"],
    ["nothing", undefined],
  ])("and not that %s", (_why, error) => {
    expect(asUnavailable(error)).toBe(error);
    expect(databaseUnavailableIn(error)).toBeUndefined();
  });

  it("below what wraps it, of which nothing is quoted", () => {
    const seen = asUnavailable(new DrizzleQueryError("SELECT $1", ["a secret"], failed("57P01")));
    expect(seen).toBeInstanceOf(DatabaseUnavailable);
    for (let one = seen; one instanceof Error; one = one.cause) expect(one.message).not.toContain("secret");
  });

  it("once, however often it passes", () => {
    const seen = asUnavailable(failed("57P01"));
    const around = new Error("around", { cause: seen });
    expect(asUnavailable(seen)).toBe(seen);
    expect(asUnavailable(around)).toBe(around);
    expect(databaseUnavailableIn(around)).toBeDefined();
  });

  it("and not by a code that a network's error of somebody else has", () => {
    expect(databaseUnavailableIn(new Error("fetch failed", { cause: failed("ECONNREFUSED") }))).toBeUndefined();
  });

  it("without end where an error is its own cause", () => {
    const circle = new Error("x");
    circle.cause = circle;
    expect(databaseUnavailableIn(circle)).toBeUndefined();
    expect(asUnavailable(circle)).toBe(circle);
  });
});
