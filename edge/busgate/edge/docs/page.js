// The documentation page: sends calls from their forms. The page can be read without it.

const token = document.getElementById("token"); // null where nobody takes one
const apiKey = document.getElementById("api-key");
const secrets = [token, apiKey].filter(Boolean);
const base = new URL(".", location.href); // of the API: the page stands beside its operations

const OUTCOMES = {
  executed: "The service did its work.",
  not_executed: "Nothing was done; it is safe to try again.",
  unknown: "It may have been done, or not.",
};
const SHOWN_HEADERS = ["Location", "Retry-After", "X-Request-Id", "Server-Timing", "WWW-Authenticate", "Allow"];
const PATIENCE = 10; // seconds beyond the time limit of a call until the gateway itself is given up

// -- small tools

function element(name, attributes, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

function shownJson(text) {
  const pre = element("pre", { tabindex: "0" });
  const tokens = /("(?:[^"\\]|\\.)*")(:)?|(-?\d[\d.eE+-]*|true|false|null)/g;
  let end = 0;
  for (const found of text.matchAll(tokens)) {
    const kind = found[2] ? "key" : found[1] ? "text" : "word";
    pre.append(text.slice(end, found.index), element("span", { class: `json-${kind}` }, found[1] ?? found[3]), found[2] ?? "");
    end = found.index + found[0].length;
  }
  pre.append(text.slice(end));
  return pre;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

const controls = (form) => [...form.querySelectorAll("[data-in]")];

// -- from a form to a request

function requestOf(form) {
  const headers = {};
  const query = new URLSearchParams();
  let path = form.dataset.path.slice(1);
  let body;
  for (const control of controls(form)) {
    const { value, name } = control;
    const place = control.dataset.in;
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (place === "body") body = value;
    else if (value.trim() === "") continue;
    else if (place === "header") headers[name] = value;
    else if (place === "wait") headers.Prefer = `wait=${value.trim()}`;
    else for (const one of control.hasAttribute("data-many") ? value.split(",") : [value]) query.append(name, one.trim());
  }
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const url = new URL(path, base);
  url.search = query;
  return { method: form.dataset.method, url, headers, body };
}

const bearer = () => token?.value.trim().replace(/^bearer\s+/i, "") ?? "";
const keyOf = () => apiKey?.value.trim() ?? "";

// One credential is enough, and two that name different callers are refused: the token, where the operation takes it.
function credential(form) {
  const takes = form.dataset;
  if (takes.token && (bearer() || !takes.key || !keyOf())) return { name: "Authorization", prefix: "Bearer ", value: bearer(), variable: "TOKEN" };
  if (takes.key) return { name: apiKey.dataset.header, prefix: "", value: keyOf(), variable: "API_KEY" };
  return null;
}

// -- sending

async function send(form) {
  const missing = controls(form).filter((control) => control.required && control.value === "");
  for (const control of controls(form)) {
    if (missing.includes(control)) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
  }
  if (missing.length) {
    missing[0].focus();
    show(form, element("p", {}, `${missing[0].name} is needed.`));
    return;
  }
  const { method, url, headers, body } = requestOf(form);
  const proof = credential(form);
  if (proof?.value) headers[proof.name] = proof.prefix + proof.value;
  const limit = (Number(form.dataset.timeout) + PATIENCE) * 1000;
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  const began = performance.now();
  try {
    const signal = AbortSignal.timeout(limit);
    const answer = await fetch(url, { method, headers, body, signal, credentials: "omit", cache: "no-store", redirect: "manual" });
    const text = await answer.text();
    show(form, ...described(form, answer, text, performance.now() - began));
  } catch (error) {
    show(form, ...failed(error));
  } finally {
    button.disabled = false;
  }
  const result = form.querySelector(".result");
  result.focus({ preventScroll: true });
  result.scrollIntoView({ block: "nearest" });
}

function show(form, ...content) {
  const result = form.querySelector(".result");
  result.hidden = false;
  result.replaceChildren(...content);
}

function failed(error) {
  if (error instanceof TypeError && /header|ISO-8859-1|ByteString/i.test(error.message))
    return [element("p", {}, "Not sent: the credential or a header has a letter that a header cannot hold.")];
  const why = error.name === "TimeoutError" ? "No answer came from the gateway." : "The gateway could not be reached, or the connection broke.";
  return [element("p", {}, outcomeLabel("unknown"), ` ${why} ${OUTCOMES.unknown}`)];
}

function described(form, answer, text, millis) {
  const problem = problemOf(answer, text);
  const outcome = problem ? problem.outcome : answer.ok ? "executed" : null;
  const line = element("p", {}, element("span", { class: `status s${String(answer.status)[0]}` }, `${answer.status} ${answer.statusText}`), ` in ${Math.round(millis)} ms `);
  const content = [line];
  if (outcome in OUTCOMES) content.push(element("p", {}, outcomeLabel(outcome), ` ${advice(outcome, answer.status)}`));
  else content.push(element("p", {}, "This answer is not the gateway's."));
  if (problem) content.push(element("p", {}, ...meaning(form, problem)));
  const proof = credential(form);
  if (answer.status === 401 && proof && !proof.value) {
    const [place, what] = token ? ["#token", "token"] : ["#api-key", "API key"];
    content.push(element("p", {}, "There is no ", element("a", { href: place }, what), " in this page yet."));
  }
  if (text) content.push(shownJson(pretty(text)));
  content.push(headersOf(answer));
  return content;
}

function advice(outcome, status) {
  return outcome === "not_executed" && status < 500 ? "Nothing was done; change the request and send it again." : OUTCOMES[outcome];
}

function problemOf(answer, text) {
  if (!answer.headers.get("Content-Type")?.startsWith("application/problem+json")) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function meaning(form, problem) {
  const declared = form.closest("article").querySelector(`[data-type="${CSS.escape(problem.type)}"]`);
  const kind = document.getElementById(problem.type);
  const title = problem.title ?? problem.type;
  if (declared) return ["A problem that this operation declares: ", title, "."];
  return kind ? ["A problem of the gateway: ", element("a", { href: `#${problem.type}` }, title), "."] : [title];
}

function headersOf(answer) {
  const list = element("dl", {});
  for (const name of SHOWN_HEADERS) {
    const value = answer.headers.get(name);
    if (value !== null) list.append(element("dt", {}, name), element("dd", {}, value));
  }
  return list;
}

const outcomeLabel = (outcome) => element("a", { class: `outcome ${outcome}`, href: `#${outcome}` }, outcome);

// -- what buttons do

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curlOf(form) {
  const { method, url, headers, body } = requestOf(form);
  const words = ["curl", "-i"];
  if (method !== "GET" && !(method === "POST" && body !== undefined)) words.push("-X", method);
  words.push(quoted(url.href));
  const proof = credential(form);
  if (proof) words.push("-H", `"${proof.name}: ${proof.prefix}$${proof.variable}"`); // the secret itself stays here
  for (const [name, value] of Object.entries(headers)) words.push("-H", quoted(`${name}: ${value}`));
  if (body !== undefined) words.push("-d", quoted(body));
  return words.join(" ");
}

const ACTIONS = {
  async curl(button) {
    const form = button.form;
    const text = curlOf(form);
    const proof = credential(form);
    const pre = element("pre", { tabindex: "0" }, text);
    try {
      await navigator.clipboard.writeText(text); // only there over HTTPS and on localhost
      show(form, element("p", {}, proof ? `Copied. Put your ${proof.variable === "TOKEN" ? "token" : "key"} into the variable ${proof.variable}.` : "Copied."), pre);
    } catch {
      show(form, element("p", {}, "To be copied by hand:"), pre);
      getSelection().selectAllChildren(pre);
    }
  },
  use(button) {
    const box = button.closest("article").querySelector(".try");
    const form = box.querySelector("form");
    const values = JSON.parse(button.dataset.fill);
    for (const control of controls(form)) {
      const found = values.find(([place, name]) => place === control.dataset.in && name === control.name);
      control.value = found ? found[2] : "";
    }
    form.querySelector(".result").hidden = true;
    box.open = true;
    form.querySelector("[type=submit]").focus();
  },
  show(button) {
    const show = button.getAttribute("aria-pressed") === "false";
    for (const field of secrets) field.classList.toggle("masked", !show);
    button.setAttribute("aria-pressed", String(show));
  },
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) ACTIONS[button.dataset.do](button);
});

document.addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.target.dataset.path) send(event.target);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form?.dataset.path) send(event.target.form);
});

// -- the list of contents

const entries = [...document.querySelectorAll("nav [data-words]")];

document.getElementById("filter").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/);
  for (const entry of entries) entry.hidden = !words.every((word) => entry.dataset.words.includes(word));
  for (const group of new Set(entries.map((entry) => entry.parentElement))) {
    group.parentElement.hidden = [...group.children].every((entry) => entry.hidden);
  }
});

if (matchMedia("(max-width: 52rem)").matches) document.querySelector("nav details").open = false;

// Secrets are in the memory of this page only: not even a page that the browser keeps for "back" has them.
addEventListener("pagehide", () => {
  for (const field of secrets) field.value = "";
});

for (const hidden of document.querySelectorAll(".token, .try, #filter, [data-do=use]")) hidden.hidden = false;
