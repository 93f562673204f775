// Visits `serve-web` with a real Chromium: `node visit.mjs '{"url", "modules", "chromium", "pause", "last", "how"}'`, `how` is
// "page" to close the last tab, or "browser" for a browser that is killed. Prints what answered meanwhile, as one JSON object.
import { createRequire } from "node:module";

const told = JSON.parse(process.argv[2]);
const { chromium } = createRequire(told.modules + "/x.js")("playwright-core");
const browser = await chromium.launch({ executablePath: told.chromium, args: ["--headless", "--no-sandbox", "--disable-gpu"] });
const context = await browser.newContext();
const base = new URL(told.url).origin;
const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const answers = () => fetch(`${base}/healthz`).then(() => true, () => false);
const seen = {};

const first = await context.newPage();
await first.goto(told.url);
await first.reload();
await first.click("a[href^='/web/']");
await first.goBack();
await pause(told.pause);
seen.afterReload = await answers();
const second = await context.newPage();
await second.goto(`${base}/web`);
await first.close();
await pause(told.pause);
seen.besideAnother = await answers();
seen.title = await second.locator("h1").first().textContent();
await (told.how === "page" ? second.close() : browser.close());
await pause(told.last);
seen.afterwards = await answers();
await browser.close();
console.log(JSON.stringify(seen));
