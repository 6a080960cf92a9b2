import { openPglite } from "@tributary/db";
import { describeFunctions } from "./testing/function-cases.ts";

describeFunctions("PGlite", () => openPglite());
