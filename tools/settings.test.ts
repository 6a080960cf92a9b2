import { describe, expect, it } from "vitest";
import { repositoryRoot, textOf } from "./tree.ts";

const config = textOf(repositoryRoot, "services/hub/src/config.ts") ?? "";
const [, environment = ""] = /^const Environment = z\.object\(\{\n(.*?)^\}\);/ms.exec(config) ?? [];
const settings = [...environment.matchAll(/^ {2}([A-Z][A-Z0-9_]*):/gm)].map(([, name]) => name);

describe("every setting of the hub", () => {
  it("is found in config.ts", () => {
    expect(settings).toContain("DATABASE_URL");
    expect(settings).toContain("LOG_LEVEL");
  });

  it("has a row in docs/SETTINGS.md, in the order of config.ts, and no other has one", () => {
    const page = textOf(repositoryRoot, "docs/SETTINGS.md") ?? "";
    expect([...page.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name)).toEqual(settings);
  });
});
