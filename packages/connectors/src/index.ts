import type { Connector } from "@tributary/sdk";
import { todoist } from "./todoist/connector.ts";

/** Every connector, one import a line. Order is the catalogue's. */
export const connectors: readonly Connector[] = [todoist];
