import { freePorts, startPrivatePostgres } from "@tributary/db/testing";
import { startPrivateNats } from "@tributary/pipeline/testing";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { startHubProcess } from "./hub-process.ts";

it("a hub whose database and broker are both gone ends when it is told to", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tributary-stop-"));
  const [postgres, nats, port] = await Promise.all([startPrivatePostgres(), startPrivateNats(), freePorts(3)]);
  try {
    const hub = await startHubProcess({
      TRIBUTARY_DATA_DIR: folder,
      TRIBUTARY_PORT: String(port),
      TRIBUTARY_SANDBOX_PORT: String(port + 1),
      TRIBUTARY_SANDBOX: "true",
      DATABASE_URL: await postgres.createDatabase(),
      NATS_URL: nats.url,
    });
    await hub.until("Ctrl-C stops");
    await Promise.all([postgres.crash(), nats.kill()]);
    const { code, ms } = await hub.stop("SIGTERM");
    // Ended by itself, well or not: a signal would leave no code.
    expect(code, hub.stderr).not.toBeNull();
    // Ten seconds, and what a busy machine takes besides.
    expect(ms).toBeLessThan(25_000);
  } finally {
    await Promise.all([postgres.stop(), nats.stop()]);
    rmSync(folder, { recursive: true, force: true });
  }
});
