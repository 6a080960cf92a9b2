import { describe, expect, it } from "vitest";
import { ConfigError, readConfig } from "../src/config.ts";

const CANARY = "canary-4f1d";

describe("a setting that cannot be", () => {
  it.each([
    ["TRIBUTARY_PORT", CANARY],
    ["TRIBUTARY_SANDBOX_PORT", "0"],
    ["TRIBUTARY_PUBLIC_ORIGIN", `javascript:${CANARY}`],
    ["TRIBUTARY_ROLES", CANARY],
    ["TRIBUTARY_SESSION_SECRET", CANARY],
    ["TRIBUTARY_SERVICE_KEYS", `${CANARY}:sample:short`],
    ["TRIBUTARY_SERVICE_KEYS", `x:sample:${CANARY}${"k".repeat(32)}:everything`],
    ["TRIBUTARY_SERVICE_KEYS", ["a", "b", "c"].map((one) => `x:sample:${CANARY}${one.repeat(32)}`).join(",")],
    ["TRIBUTARY_SERVICE_KEYS", ["a", "b"].map((one) => `x:${one}:${CANARY}${one.repeat(32)}`).join(",")],
    ["TRIBUTARY_JWT_SECRET", CANARY],
    ["TRIBUTARY_JWT_SECRET", `${CANARY}${"s".repeat(32)}`],
    ["TRIBUTARY_JWT_KEYS_URL", `ftp://${CANARY}.example.com`],
    ["TRIBUTARY_JWT_ISSUER", CANARY],
    ["TRIBUTARY_ORGANIZATION", `${CANARY}!`],
    ["TRIBUTARY_OIDC_ISSUER", CANARY],
    ["TRIBUTARY_OIDC_CLIENT_SECRET", CANARY],
    ["TRIBUTARY_OAUTH_TODOIST_CLIENT_SECRET", CANARY],
    ["TRIBUTARY_SANDBOX", CANARY],
    ["DATABASE_URL", `mysql://hub:${CANARY}@127.0.0.1/hub`],
    ["NATS_URL", `http://${CANARY}@127.0.0.1`],
    ["LOG_LEVEL", CANARY],
  ])("%s is named, and its value is not", (setting, value) => {
    const read = () => readConfig({ [setting]: value }, ["todoist"]);
    expect(read).toThrow(ConfigError);
    expect(read).toThrow(setting);
    expect(read).not.toThrow(CANARY);
  });
});

describe("without settings", () => {
  it("everything runs embedded, on loopback, against simulated providers", () => {
    expect(readConfig({}, ["todoist"])).toMatchObject({
      databaseUrl: undefined,
      host: "127.0.0.1",
      publicOrigin: "http://127.0.0.1:4600",
      sandbox: { firstPort: 4609 },
      oauthClients: [],
    });
  });

  it("an empty value counts as none", () => {
    expect(readConfig({ DATABASE_URL: "", TRIBUTARY_PORT: "" }, [])).toEqual(readConfig({}, []));
  });
});

describe("simulated providers", () => {
  it.each([
    ["in production", { NODE_ENV: "production" }],
    ["where others reach them", { TRIBUTARY_HOST: "0.0.0.0" }],
  ])("are refused %s", (_where, env) => {
    expect(() => readConfig(env, [])).toThrow(ConfigError);
  });

  it("give way to the real ones, whose client comes from the environment", () => {
    const env = {
      TRIBUTARY_SANDBOX: "false",
      TRIBUTARY_OAUTH_TODOIST_CLIENT_ID: "id",
      TRIBUTARY_OAUTH_TODOIST_CLIENT_SECRET: "secret",
    };
    expect(readConfig(env, ["todoist"])).toMatchObject({
      sandbox: undefined,
      oauthClients: [{ integration: "todoist", clientId: "id", clientSecret: "secret" }],
    });
  });
});
