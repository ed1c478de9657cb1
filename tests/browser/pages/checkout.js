// A page as a build makes it: checkout.min.js is this file, the SDK and the snippet in one.

import * as Sentry from "@sentry/browser";
import { startSentry } from "./sentry-browser.js";

function priceOf(basket) {
  return basket.items.reduce((sum, item) => sum + item.price.amount, 0);
}

startSentry(Sentry);
setTimeout(() => priceOf({ items: [{ name: "apple" }] }));
setTimeout(async () => {
  const flushed = await Sentry.flush(10000);
  await fetch("/done", { method: "POST", body: JSON.stringify({ flushed }) });
}, 100);
