export { completed, type FakeHub, Outcome, startFakeHub, TOKEN } from "./fake-hub.ts";
