import { describe, expect, it } from "vitest";
import { repositoryRoot, textOf } from "./tree.ts";

const settings = textOf(repositoryRoot, "pnpm-workspace.yaml") ?? "";
const lockfile = textOf(repositoryRoot, "pnpm-lock.yaml") ?? "";
const entry = textOf(repositoryRoot, "tools/run.mjs") ?? "";

describe("what is installed", () => {
  it("is a week old at least, in the versions of the lockfile and no others", () => {
    expect(Number(/^minimumReleaseAge: (\d+)$/m.exec(settings)?.[1])).toBeGreaterThanOrEqual(7 * 24 * 60);
    expect(settings).not.toMatch(/minimumReleaseAgeExclude/);
    expect(entry).toContain('"--frozen-lockfile"');
  });

  it("runs no script of its own while it is installed", () => {
    const [, allowed = ""] = /^allowBuilds:\n((?: {2}.*\n)*)/m.exec(settings) ?? [];
    const lines = allowed.split("\n").filter((line) => line.trim() !== "");
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.filter((line) => !line.endsWith(": false"))).toEqual([]);
    expect(settings).not.toMatch(/dangerouslyAllowAllBuilds|onlyBuiltDependencies/);
  });

  it("is what was locked, byte for byte: every package has its hash, and none comes from elsewhere than a registry", () => {
    const [, packages = ""] = lockfile.split(/^packages:$/m);
    const [listed = ""] = packages.split(/^snapshots:$/m);
    const resolutions = [...listed.matchAll(/^ {4}resolution: (.*)$/gm)].map(([, resolution = ""]) => resolution);
    expect(resolutions.length).toBeGreaterThan(100);
    expect(resolutions.filter((one) => !/^\{integrity: sha512-[A-Za-z0-9+/=]{80,}/.test(one))).toEqual([]);
    expect(resolutions.filter((one) => /tarball|git|https?:/.test(one))).toEqual([]);
  });
});
