// A worker for busgate in Node, after docs/wire.md. The numbers are those of its section "What a worker does".
import amqplib from "amqplib";

import { Unverified } from "./signed.js";

const CALLS = "busgate.calls";
const REPLIES = "busgate.replies";
const QUEUE_ARGUMENTS = { "x-queue-type": "classic", "x-expires": 120000 };
const REPLY_QUEUE = /^busgate\.reply\.[A-Za-z0-9._-]{1,180}$/;
const CALL_ID = /^[0-9a-f]{32}$/;
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
const PREFETCH = 32;
const ANSWERS_KEPT = 4000;
const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 1500; // milliseconds

/** A problem that the contract declares. `fields` stand beside its type, title and status. */
export class Problem extends Error {
  constructor(type, title, status, detail, fields = {}) {
    super(detail);
    this.document = { type, title, status, outcome: "executed", detail, ...fields };
  }
}

/** A request that the edge let through and this service cannot read: the versions differ. */
export class Unreadable extends Error {}

/** The worker of one topic. `redelivery` is "run" or "refuse", as the contract says; `verifier` says who calls, if there is one. */
export class Worker {
  #url;
  #topic;
  #service;
  #reruns;
  #handle;
  #verifier;
  #connection = null;
  #channel = null;
  #consumer = null;
  #running = new Map(); // call id -> deliveries of it, one or more
  #answered = new Map(); // call id -> answer, the oldest first
  #unsent = []; // deliveries and answers that found no connection
  #stopping = null;
  #wake = () => {};

  constructor({ url, topic, service, redelivery, verifier = null }, handle) {
    this.#url = url;
    this.#topic = topic;
    this.#service = service;
    this.#reruns = redelivery === "run";
    this.#handle = handle;
    this.#verifier = verifier;
  }

  /** Serve until `stop` was called and everything is answered. */
  async run() {
    let pause = FIRST_PAUSE;
    while (!this.#stopping || this.#running.size || this.#unsent.length) {
      try {
        const { lost } = await this.#connect();
        pause = FIRST_PAUSE;
        await lost;
      } catch (error) {
        log(`no connection to the broker: ${error.message}`);
      }
      this.#connection = this.#channel = this.#consumer = null;
      this.#forgetExpired();
      await this.#sleep(Math.random() * pause); // full jitter: not all workers come back in one moment
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  }

  /** Drain: take no more, run what was already sent here, reply, ack, close. Nothing is handed back. */
  async stop() {
    this.#stopping ??= this.#drain();
    await this.#stopping;
  }

  async #drain() {
    this.#wake();
    if (this.#consumer) await this.#channel.cancel(this.#consumer).catch(() => {});
    while (this.#running.size) await new Promise((resolve) => setTimeout(resolve, 20));
    await this.#channel?.close().catch(() => {});
    await this.#connection?.close().catch(() => {});
  }

  // -- the connection

  /** Connect and consume. `lost` is done when the connection has fallen. */
  async #connect() {
    const connection = await amqplib.connect(this.#url, { clientProperties: { connection_name: this.#service } });
    this.#connection = connection;
    const lost = new Promise((resolve) => {
      connection.on("error", (error) => log(`the connection fell: ${error.message}`));
      connection.on("close", resolve);
    });
    try {
      await this.#prepare(connection);
      const channel = await connection.createChannel();
      channel.on("error", (error) => log(`the channel fell: ${error.message}`));
      channel.on("close", () => connection.close().catch(() => {}));
      channel.on("return", () => log("a caller is gone: its reply came back"));
      await channel.prefetch(PREFETCH);
      this.#channel = channel;
      this.#sendUnsent();
      if (this.#stopping) {
        await channel.close(); // after what was just sent, and with it the connection
      } else {
        const started = await channel.consume(this.#topic, (message) => this.#onMessage(channel, message));
        this.#consumer = started.consumerTag;
        log(`serves ${this.#topic}`);
      }
    } catch (error) {
      await connection.close().catch(() => {});
      throw error;
    }
    return { lost };
  }

  /** Look at exchanges and queue first, and declare only what is missing: a queue keeps its first arguments. */
  async #prepare(connection) {
    for (const exchange of [CALLS, REPLIES]) {
      if (!(await asks(connection, (channel) => channel.checkExchange(exchange)))) {
        await on(connection, (channel) => channel.assertExchange(exchange, "direct", { durable: true }));
      }
    }
    if (!(await asks(connection, (channel) => channel.checkQueue(this.#topic)))) {
      await on(connection, async (channel) => {
        await channel.assertQueue(this.#topic, { durable: true, arguments: QUEUE_ARGUMENTS });
        await channel.bindQueue(this.#topic, CALLS, this.#topic);
      });
    }
  }

  #sleep(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  // -- a call

  #onMessage(channel, message) {
    if (message === null) {
      channel.close().catch(() => {}); // the queue was deleted: make it again, on a new connection
      return;
    }
    const delivery = { channel, message };
    if (!isCall(message, this.#topic)) {
      this.#ack(delivery); // (2) dropped: not run, not answered
      return;
    }
    const caller = this.#callerOf(delivery);
    if (caller === undefined) return; // before (3): what one caller was answered is not for another
    const { headers } = message.properties;
    const id = this.#verifier ? headers.call + headers.caller : headers.call;
    const running = this.#running.get(id);
    const known = this.#answered.get(id);
    if (running) running.push(delivery); // (3) answered with the one that runs
    else if (known) this.#settle([delivery], known);
    else if (message.fields.redelivered && !this.#reruns) this.#settle([delivery], problem("redelivered")); // (4)
    else this.#start(id, delivery, caller);
  }

  /** Who is verified to call, or null. Undefined: the call is refused, and answered. */
  #callerOf({ channel, message }) {
    if (!this.#verifier) return null;
    try {
      return this.#verifier.callerOf(message);
    } catch (error) {
      if (!(error instanceof Unverified)) throw error;
      log(`refused a call, who calls cannot be verified: ${error.message}`);
      this.#settle([{ channel, message }], problem(message.fields.redelivered ? "redelivered" : "caller-unverified"));
      return undefined;
    }
  }

  async #start(id, delivery, caller) {
    const deliveries = [delivery];
    this.#running.set(id, deliveries);
    const answer = await this.#answer(delivery.message, caller);
    this.#running.delete(id);
    this.#answered.set(id, answer);
    if (this.#answered.size > ANSWERS_KEPT) this.#answered.delete(this.#answered.keys().next().value);
    this.#settle(deliveries, answer);
  }

  /** The answer to a call that may start; it never throws. */
  async #answer(message, caller) {
    const received = Date.now();
    const { headers } = message.properties;
    if (received > headers.deadline) {
      return problem(message.fields.redelivered ? "redelivered" : "too-late", received); // (5) it may have run elsewhere
    }
    try {
      const reply = await this.#handle(parse(message.content), { headers, caller }); // (6)
      return answer("reply", reply, received);
    } catch (error) {
      if (error instanceof Problem) return answer("problem", error.document, received);
      if (error instanceof Unreadable) return problem("unreadable-request", received);
      log(`call ${headers.call} failed: ${error.stack}`); // the caller is told nothing of it
      return problem("handler-crashed", received);
    }
  }

  /** (7) Reply, then ack. Another attempt waits under another correlation id, a redelivered copy under the same. */
  #settle(deliveries, answer) {
    if (this.#channel === null) {
      this.#unsent.push({ deliveries, answer });
      return;
    }
    const waiting = new Map(deliveries.map((each) => [each.message.properties.correlationId, each.message]));
    for (const message of waiting.values()) this.#reply(message, answer);
    for (const delivery of deliveries) this.#ack(delivery);
  }

  #reply(call, { type, body, received, ran }) {
    this.#channel.publish(REPLIES, call.properties.replyTo, body, {
      mandatory: true,
      contentType: "application/json",
      type,
      deliveryMode: 1,
      correlationId: call.properties.correlationId,
      headers: { wire: 1, service: this.#service, received, ran },
    });
  }

  /** A delivery of a connection that fell cannot be acked: it comes again. */
  #ack({ channel, message }) {
    if (channel === this.#channel) channel.ack(message);
  }

  #sendUnsent() {
    this.#forgetExpired();
    for (const { deliveries, answer } of this.#unsent.splice(0)) this.#settle(deliveries, answer);
  }

  #forgetExpired() {
    const waits = ({ message }) => message.properties.headers.deadline > Date.now();
    this.#unsent = this.#unsent.filter(({ deliveries }) => deliveries.some(waits));
  }
}

// -- what is a call

function isCall({ fields, properties }, topic) {
  const { headers = {}, correlationId = "", replyTo = "" } = properties;
  const size = Buffer.byteLength(correlationId);
  return (
    fields.routingKey === topic &&
    properties.type === "call" &&
    properties.contentType === "application/json" &&
    size >= 16 &&
    size <= 64 &&
    REPLY_QUEUE.test(replyTo) &&
    headers.wire === 1 &&
    matches(CALL_ID, headers.call) &&
    matches(TRACEPARENT, headers.traceparent) &&
    Number.isInteger(headers.deadline) &&
    Number.isInteger(headers.hops) &&
    headers.hops >= 0 &&
    headers.hops <= 8 &&
    ["caller", "jws", "via"].every((name) => ["string", "undefined"].includes(typeof headers[name])) &&
    !("CC" in headers) &&
    !("BCC" in headers)
  );
}

function matches(pattern, value) {
  return typeof value === "string" && pattern.test(value);
}

function parse(body) {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    throw new Unreadable("not JSON");
  }
}

// -- answers

function answer(type, document, received) {
  return { type, body: Buffer.from(JSON.stringify(document)), received, ran: Date.now() - received };
}

/** One of busgate's own problems; the edge knows the rest of it by its type. */
function problem(name, received = Date.now()) {
  return answer("problem", { type: `urn:busgate:${name}` }, received);
}

// -- channels for one question: the broker closes them when the answer is no

async function on(connection, ask) {
  const channel = await connection.createChannel();
  channel.on("error", () => {}); // it is thrown as well
  const found = await ask(channel);
  await channel.close();
  return found;
}

async function asks(connection, ask) {
  try {
    await on(connection, ask);
    return true;
  } catch (error) {
    if (error.code === 404) return false;
    throw error;
  }
}

function log(text) {
  console.error(`${new Date().toISOString()} ${text}`);
}
