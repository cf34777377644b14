// Who calls, as the edge signed it: the header `jws` of docs/wire.md, "Who calls, signed", with Node's own crypto.
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFile } from "node:fs/promises";

const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$/;
const LIMIT = 8192;
const LIFETIME = 60; // seconds
const LEEWAY = 5;
const REMEMBERED = 5000;
const LOOK_EVERY = 30_000; // milliseconds
const SIZE_LIMIT = 64 * 1024;

/** A call whose caller nothing proves; the reason is for the log. */
export class Unverified extends Error {}

/** The topic without its last word and its version: shop.stock for shop.stock.check.v1. */
export function audienceOf(topic) {
  const words = topic.split(".");
  return (words.length > 2 ? words.slice(0, -2) : words.slice(0, 1)).join(".");
}

/** Verifies the calls of one topic. `jwks` is a file or a URL, `delegates` and `bound` are those of the contract. */
export class Verifier {
  #jwks;
  #topic;
  #audiences;
  #bound;
  #keys = new Map(); // kid -> public key
  #text = "";
  #known = new Map(); // jws -> claims and the header `caller` beside it, the oldest first
  #timer = null;

  constructor({ jwks, topic, delegates = [], bound = false }) {
    this.#jwks = jwks;
    this.#topic = topic;
    this.#audiences = [audienceOf(topic), ...delegates];
    this.#bound = bound;
  }

  /** Get the keys, and look at them again every half minute. */
  async start() {
    await this.#look();
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY);
  }

  stop() {
    clearInterval(this.#timer);
  }

  /** Who calls, or null where nobody has to; throws Unverified. `isPublic` as in the contract. */
  callerOf({ content, properties: { headers } }, isPublic = false) {
    const { jws, caller } = headers;
    if (jws === undefined) {
      if (isPublic && caller === undefined) return null;
      throw new Unverified("it is not signed");
    }
    const known = this.#known.get(jws) ?? this.#read(jws, caller);
    const { claims } = known;
    if (claims.exp + LEEWAY <= Date.now() / 1000) throw new Unverified("its signature has ended");
    if (known.caller !== caller) throw new Unverified("its header caller is not what was signed");
    if (!this.#audiences.includes(claims.aud)) throw new Unverified(`it was made for ${claims.aud}`);
    if (claims.aud === this.#audiences[0]) {
      const message = this.#bound ? digest(this.#topic, headers.call, content) : undefined;
      if (claims.msg !== message) throw new Unverified("it was made for another message");
    } else if (this.#bound) throw new Unverified("the contract is bound");
    return claims.caller;
  }

  #read(jws, caller) {
    if (typeof jws !== "string" || jws.length > LIMIT || !COMPACT.test(jws)) throw new Unverified("not a compact JWS");
    const [head, body, signature] = jws.split(".");
    const { kid, alg, typ, ...more } = parse(head);
    if (alg !== "EdDSA" || typ !== "caller+jwt" || Object.keys(more).length) throw new Unverified("not of our kind");
    const key = this.#keys.get(kid);
    if (!key) {
      this.#look(); // it may be a new one
      throw new Unverified("no key that is known here signed it");
    }
    if (!verify(null, Buffer.from(`${head}.${body}`), key, decode(signature))) throw new Unverified("its signature is not good");
    const claims = parse(body);
    const { iat, exp } = claims;
    const now = Date.now() / 1000;
    if (!Number.isInteger(iat) || !Number.isInteger(exp) || exp <= iat || exp - iat > LIFETIME || iat > now + LEEWAY) {
      throw new Unverified("its times are wrong");
    }
    if (!same(claims.caller, caller)) throw new Unverified("its header caller is not what was signed");
    const known = { claims, caller };
    this.#known.set(jws, known);
    if (this.#known.size > REMEMBERED) this.#known.delete(this.#known.keys().next().value);
    return known;
  }

  async #look() {
    try {
      const text = await read(this.#jwks);
      if (text === this.#text) return;
      const { keys } = JSON.parse(text);
      const fit = keys.filter(({ crv, use = "sig" }) => crv === "Ed25519" && use === "sig");
      this.#keys = new Map(fit.map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: "jwk" })]));
      this.#known.clear();
      this.#text = text;
    } catch (error) {
      console.error(`${new Date().toISOString()} no keys from ${this.#jwks}: ${error.message}`); // the old ones stay
    }
  }
}

async function read(place) {
  if (!/^https?:/.test(place)) return readFile(place, "utf8");
  const answer = await fetch(place, { redirect: "error", signal: AbortSignal.timeout(3000) });
  if (answer.status !== 200) throw new Error(`it answers ${answer.status}`);
  const text = await answer.text();
  if (text.length > SIZE_LIMIT) throw new Error("its answer is too long");
  return text;
}

function digest(topic, call, body) {
  return createHash("sha256").update(`${topic}\n${call}\n`).update(body).digest("base64url");
}

/** Base64url in its one spelling: with others, a changed letter could pass. */
function decode(text) {
  const data = Buffer.from(text, "base64url");
  if (data.toString("base64url") !== text) throw new Unverified("not base64url");
  return data;
}

function parse(part) {
  try {
    const document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(decode(part)));
    if (typeof document === "object" && document !== null && !Array.isArray(document)) return document;
  } catch {
    // as any other that is none
  }
  throw new Unverified("a part of it is not a JSON object");
}

/** Whether the header says what was signed, in whatever order. */
function same(signed, header) {
  try {
    return typeof signed?.sub === "string" && sorted(signed) === sorted(JSON.parse(header));
  } catch {
    return false;
  }
}

function sorted(value) {
  return JSON.stringify(value, (_, each) =>
    typeof each === "object" && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([one], [other]) => (one < other ? -1 : 1)))
      : each,
  );
}
