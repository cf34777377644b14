// The stock service of the example shop, in Node: the topic shop.stock.check.v1 of examples/shop/contracts.py.
import { Problem, Unreadable, Worker } from "./busgate.js";
import { Verifier } from "./signed.js";

const TOPIC = "shop.stock.check.v1";

// What came in. The Python service takes off what was ordered, which its database knows and this one does not.
const DELIVERED = { "A-1": 5, "B-2": 0 };

async function check({ sku } = {}, { caller }) {
  if (verifier) console.error(`${JSON.stringify(caller.sub)} asks`);
  if (typeof sku !== "string") throw new Unreadable("sku is not a string");
  if (!Object.hasOwn(DELIVERED, sku)) {
    throw new Problem("urn:problem:unknown-sku", "The shop does not sell this", 404, "the shop does not sell this", { sku });
  }
  return { sku, available: DELIVERED[sku] };
}

// A file or a URL with the public keys of the edge; without it the worker takes everybody's word for who calls.
const { JWKS } = process.env;
const verifier = JWKS ? new Verifier({ jwks: JWKS, topic: TOPIC, delegates: ["shop.orders"] }) : null;
await verifier?.start();

const worker = new Worker(
  {
    url: process.env.BUS_URL ?? "amqp://localhost/",
    topic: TOPIC,
    verifier,
    service: process.env.SERVICE ?? "inventory",
    redelivery: "run", // the default of a GET
  },
  check,
);
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => worker.stop());
await worker.run();
verifier?.stop();
