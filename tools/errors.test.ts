import { describe, expect, it } from "vitest";
import { repositoryRoot, textOf } from "./tree.ts";

const source = textOf(repositoryRoot, "packages/api/src/errors.ts") ?? "";
const [, table = ""] = /^const STATUS = \{\n(.*?)^\} as const/ms.exec(source) ?? [];
const codes = [...table.matchAll(/^ {2}(\w+): (\d{3}),$/gm)].map(([, code = "", status = ""]) => `${code} ${status}`);
const page = textOf(repositoryRoot, "docs/ERRORS.md") ?? "";
const sections = [...page.matchAll(/^### (\w+)\n\n(.*)$/gm)].map(([, code = "", text = ""]) => ({ code, text }));

describe("docs/ERRORS.md", () => {
  it("has one section for every code that the API answers with, with its status, and no other", () => {
    expect(codes).toContain("internal_error 500");
    const told = sections.map(({ code, text }) => `${code} ${/^HTTP (\d{3})\. /.exec(text)?.[1]}`);
    expect(told.toSorted()).toEqual(codes.toSorted());
  });

  it.each(sections)("says of $code what happened and what to do", ({ text }) => {
    // The status, and a sentence at least.
    expect(text.split(/\.(?: |$)/).filter((sentence) => sentence !== "").length).toBeGreaterThan(1);
    expect(text.length).toBeGreaterThan(40);
  });
});
