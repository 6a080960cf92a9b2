import { expect, it } from "vitest";
import { returnTo } from "./return-to.ts";

it.each(["/", "/connections", "/connect/todoist?x=1&y=a-b", "/connections/0b9f-1#connection-0b9f-1", "/?lang=pl"])(
  "goes to %s",
  (path) => expect(returnTo(path)).toBe(path),
);

it.each([
  undefined,
  null,
  "",
  "connections",
  "//evil.example",
  "///evil.example",
  "/\\evil.example",
  "\\/evil.example",
  "/%2f%2fevil.example",
  "/%5cevil.example",
  "%2f%2fevil.example",
  "/./%2fevil.example",
  "/..//evil.example",
  "/connections/../..//evil.example",
  "/.evil.example",
  "/\t/evil.example",
  "/\n/evil.example",
  " //evil.example",
  "https://evil.example",
  "https:evil.example",
  "HTTPS://EVIL.EXAMPLE",
  "javascript:alert(1)",
  "data:text/html,x",
  "//sample@evil.example",
  "/@evil.example",
  "/connections//evil.example",
  "/?next=https://evil.example",
  "/connections#//evil.example",
  "/auth/signout",
  "/auth/signin?returnTo=a",
  "/api/connections",
  "/signin",
  `/${"a".repeat(600)}`,
])("goes to the start instead of %j", (path) => expect(returnTo(path)).toBe("/"));
