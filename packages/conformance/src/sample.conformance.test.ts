import { testConnector } from "./index.ts";
import { sample, sampleAdapter } from "./testing/sample-connector.ts";
import { sampleProvider } from "./testing/sample-provider.ts";

testConnector(sample, sampleProvider, sampleAdapter);
