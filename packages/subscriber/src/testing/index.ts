export { completed, type FakeHub, Outcome, startFakeHub, TOKEN } from "./fake-hub.ts";
export { type NatsStage, openNatsStage } from "./nats-stage.ts";
