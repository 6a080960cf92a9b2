// A consumer as somebody would write it in another language: a NATS client, JetStream's own requests, and `buf` with the
// exported contracts as the decoder. It imports nothing of ours and knows only docs/other-languages.md. One line of JSON
// an event goes to standard output.
//   node plain-consumer.mjs <nats server> <folder of contracts:export> <durable name> <filter> <events> <acknowledged>
import { connect } from "@nats-io/transport-node";
import { execFileSync } from "node:child_process";

const [server = "", contracts = "", name = "", filter = "", events = "0", acknowledged = "0"] = process.argv.slice(2);
const STREAM = "TRIBUTARY_EVENTS";
const ACK_WAIT_NS = 500e6;
const PULL_NS = 10e9;

const nc = await connect({ servers: server });
// nats-server 2.9 holds a request to the name and the filter that its subject repeats: so permissions can allow it.
await request(`$JS.API.CONSUMER.CREATE.${STREAM}.${name}.${filter}`, {
  stream_name: STREAM,
  config: {
    durable_name: name,
    deliver_policy: "all",
    ack_policy: "explicit",
    ack_wait: ACK_WAIT_NS,
    max_ack_pending: 1,
    filter_subject: filter,
  },
});
for (let n = 0; n < Number(events); n++) {
  const message = await next();
  const header = (key) => message.headers.get(key);
  const line = {
    subject: message.subject,
    headers: Object.fromEntries(message.headers.keys().map((key) => [key, header(key)])),
    event: decode(header("ce-type"), message.data),
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  // What is not acknowledged comes again, to whoever serves this durable name next.
  if (n < Number(acknowledged)) await nc.request(message.reply, "+ACK", { timeout: 5_000 });
}
await nc.close();

/** One message, or an error after ten seconds without any. */
function next() {
  const { promise, resolve, reject } = Promise.withResolvers();
  const inbox = `_INBOX.${crypto.randomUUID()}`;
  nc.subscribe(inbox, {
    max: 1,
    callback: (error, message) => {
      const status = message?.headers?.code ?? 0;
      if (error === null && status === 0) resolve(message);
      else reject(error ?? new Error(`no message: ${status}`));
    },
  });
  nc.publish(`$JS.API.CONSUMER.MSG.NEXT.${STREAM}.${name}`, JSON.stringify({ batch: 1, expires: PULL_NS }), {
    reply: inbox,
  });
  return promise;
}

/** buf reads the binary message from standard input and writes protobuf JSON. */
function decode(type, data) {
  const args = ["convert", `${contracts}/tributary.binpb`, "--type", type, "--from", "-#format=binpb"];
  return JSON.parse(
    execFileSync("buf", [...args, "--to", "-#format=json"], { input: data, cwd: contracts }).toString(),
  );
}

async function request(subject, body) {
  const answer = (await nc.request(subject, JSON.stringify(body), { timeout: 5_000 })).json();
  if (answer.error !== undefined) throw new Error(`${subject}: ${answer.error.description}`);
}
