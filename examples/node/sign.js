// Signs HTTP requests for an edge (RFC 9421, hmac-sha256). Needs nothing but Node.
//
// SHOP_SECRET=... node sign.js METHOD URL KEYID [JSON] sends one and prints the answer.
import { createHash, createHmac, randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";

/** The headers to send along with one request. Each signature is good once, and for a minute or so. */
export function signatureHeaders(method, url, body, { keyid, secret, contentType }) {
  const { host, pathname, search } = new URL(url);
  const headers = {};
  const parts = { "@method": method, "@authority": host, "@path": pathname, "@query": search || "?" };
  if (contentType) parts["content-type"] = contentType;
  if (body) {
    headers["Content-Digest"] = `sha-256=:${createHash("sha256").update(body).digest("base64")}:`;
    parts["content-digest"] = headers["Content-Digest"];
  }
  const names = Object.keys(parts).map((name) => `"${name}"`).join(" ");
  const created = Math.floor(Date.now() / 1000);
  const nonce = randomBytes(16).toString("base64url");
  const parameters = `(${names});created=${created};nonce="${nonce}";keyid="${keyid}"`;
  const lines = Object.entries({ ...parts, "@signature-params": parameters }).map(([name, value]) => `"${name}": ${value}`);
  const mac = createHmac("sha256", secret).update(lines.join("\n")).digest("base64");
  return { ...headers, "Signature-Input": `sig=${parameters}`, Signature: `sig=:${mac}:` };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [method, url, keyid, body] = process.argv.slice(2);
  const contentType = body && "application/json";
  const headers = signatureHeaders(method, url, body, { keyid, secret: process.env.SHOP_SECRET, contentType });
  if (body) headers["Content-Type"] = contentType;
  const answer = await fetch(url, { method, headers, body });
  console.log(answer.status, await answer.text());
}
