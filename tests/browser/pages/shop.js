// A shop that holds what nobody else may see, uses it, and fails in each way a page can fail.
// The planted texts are asked for: they do not stand in the code, which a report may quote.

import * as Sentry from "@sentry/browser";
import { captureError, startSentry } from "./sentry-browser.js";

const options = new URLSearchParams(location.search).has("tunnel") ? { tunnel: "/errors" } : {};
const started = startSentry(Sentry, options);
const planted = await (await fetch("/told")).json();

const element = (id) => document.getElementById(id);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Leaves traces everywhere the SDK looks: console, requests, history, the page itself. */
async function visit() {
  element("greeting").textContent = `Hello ${planted.mail}`;
  element("mail").value = planted.mail;
  element("mail").setAttribute("aria-label", planted.mail);
  element("password").value = planted.password;
  element("invoice").href = `/invoice?token=${planted.token}`;
  for (const id of ["mail", "password"]) {
    element(id).dispatchEvent(new InputEvent("input", { bubbles: true }));
    element(id).dispatchEvent(new KeyboardEvent("keypress", { bubbles: true, key: "a" }));
    element(id).click();
  }
  console.info(`signed in as ${planted.mail}`, { password: planted.password, nested: { apiKey: planted.token } });
  console.warn(`Cookie: session=${planted.cookie}; theme=dark`);
  history.pushState({}, "", `/basket?mail=${planted.mail}&page=2#access_token=${planted.token}`);
  await fetch(`/told?token=${planted.token}`, { headers: { Authorization: `Bearer ${planted.token}` } });
  await fetch("/told", { method: "POST", body: JSON.stringify({ password: planted.password }) });
  const request = new XMLHttpRequest();
  request.open("GET", `/told?query=${planted.query}`);
  request.send();
  await new Promise((resolve) => request.addEventListener("loadend", resolve));
}

function refuse() {
  throw new RangeError(
    `no order for ${planted.mail}: password="${planted.password}" was refused by ` +
      `https://shop:${planted.password}@api.example.org/orders?query=${planted.query} with Bearer ${planted.token}`,
  );
}

/** Each way to fail; what is not reported comes first, so that nothing of it can be late. */
const failures = {
  unreachable: () => void fetch(`http://127.0.0.1:1/?token=${planted.token}`),
  aborted: () => void fetch("/told", { signal: AbortSignal.abort() }),
  uncaught: () => element("order").click(),
  rejected: () =>
    void Promise.reject(new TypeError("no basket", { cause: new Error(`the token=${planted.token} is used up`) })),
  plain: () => void Promise.reject({ mail: planted.mail, password: planted.password, order: 7 }),
  caught: () =>
    captureError(Sentry, new SyntaxError("no payment"), {
      order: { id: 7, customer: { mail: planted.mail, sessionId: planted.cookie }, tokens: [planted.token] },
    }),
};

element("order").addEventListener("click", refuse);
await visit();
for (const fail of Object.values(failures)) {
  fail();
  await pause(50);
}
const flushed = await Sentry.flush(10000);
// The SDK sends no recording that is shorter than five seconds.
const now = Date.now;
Date.now = () => now() + 5000;
await Sentry.getReplay()?.flush();
await fetch("/done", { method: "POST", body: JSON.stringify({ started, flushed, seen: document.cookie }) });
