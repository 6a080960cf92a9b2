import { codeOf, type ErrorCode, errors, errorSentences, isRetryable } from "../packages/contracts/src/index.ts";
import { describe, expect, it } from "vitest";
import { repositoryRoot, sourceFiles, textOf } from "./tree.ts";

const page = textOf(repositoryRoot, "docs/ERRORS.md") ?? "";
const sections = [...page.matchAll(/^### (\w+)\n\n(.*)$/gm)].map(([, code = "", text = ""]) => ({ code, text }));
const tests = (await sourceFiles(repositoryRoot))
  .filter((path) => path.endsWith(".test.ts") && !path.startsWith("tools/"))
  .map((path) => textOf(repositoryRoot, path) ?? "")
  .join("\n");
const codes = Object.keys(errors) as ErrorCode[];

describe("docs/ERRORS.md", () => {
  it("has one section for every code, with its status, and no other", () => {
    const told = sections.map(({ code, text }) => `${code} ${/^HTTP (\d{3})\. /.exec(text)?.[1]}`);
    expect(told.toSorted()).toEqual(codes.map((code) => `${code} ${errors[code].http}`).toSorted());
  });

  it.each(sections)("says of $code what happened and what to do", ({ text }) => {
    // The status, and a sentence at least.
    expect(text.split(/\.(?: |$)/).filter((sentence) => sentence !== "").length).toBeGreaterThan(1);
    expect(text.length).toBeGreaterThan(40);
  });
});

describe("the closed set of codes", () => {
  it.each(codes)("%s: a test shows it, and people are told it in both languages", (code) => {
    expect(tests).toMatch(new RegExp(`["'\\s/:]${code}["'\\s:]`));
    const { en, pl } = errorSentences[code];
    expect(en).toMatch(/^[A-Z].*\.$/);
    expect(pl).toMatch(/^\p{Lu}.*\.$/u);
    expect(pl).not.toBe(en);
  });

  it("has a status of Connect's that says the same as the status of HTTP", () => {
    const unlike = codes.filter((code) => {
      const { http, connect } = errors[code];
      return !(WITH[connect] ?? []).includes(http);
    });
    expect(unlike).toEqual([]);
  });

  it("lets a program repeat what may succeed later, and nothing else", () => {
    expect(codes.filter((code) => isRetryable(code)).every((code) => [429, 503].includes(errors[code].http))).toBe(
      true,
    );
    expect(isRetryable("provider_unavailable")).toBe(true);
    expect(isRetryable("reauth_required")).toBe(false);
  });

  it("turns whatever else is thrown into internal_error", () => {
    expect(codeOf(Object.assign(new Error("x"), { code: "conflict" }))).toBe("conflict");
    for (const thrown of [
      new Error("x"),
      Object.assign(new Error("x"), { code: "ECONNREFUSED" }),
      "conflict",
      undefined,
    ])
      expect(codeOf(thrown)).toBe("internal_error");
    expect(codeOf(Object.assign(new Error("x"), { code: "toString" }))).toBe("internal_error");
  });
});

/** Which statuses of HTTP a status of Connect goes with. */
const WITH: Readonly<Record<string, readonly number[]>> = {
  invalid_argument: [400, 415, 422],
  not_found: [404, 410],
  already_exists: [409],
  permission_denied: [400, 403],
  resource_exhausted: [409, 413, 429, 502],
  failed_precondition: [400, 409, 422, 500, 502],
  aborted: [400, 409],
  unimplemented: [405],
  internal: [500],
  unavailable: [502, 503],
  data_loss: [500],
  unauthenticated: [401],
};
