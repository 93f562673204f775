// Looks at the pages with a real Chromium: `node browser.mjs '{"base", "modules", "chromium", "paths", "good", "shots"}'`.
// Prints one JSON object; what it must be is said in test_web_browser.py.
import { createRequire } from "node:module";

const told = JSON.parse(process.argv[2]);
const load = createRequire(told.modules + "/x.js");
const { chromium } = load("playwright-core");
const axe = load("axe-core").source;
const flags =
  "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking" +
  " --disable-component-update --disable-sync";
const browser = await chromium.launch({ executablePath: told.chromium, args: flags.split(" ") });
const seen = { requests: [], dialogs: [], errors: [], axe: {}, wide: [], ran: [] };

const visitor = async (options = {}) => {
  const context = await browser.newContext(options);
  context.on("request", (one) => one.url().startsWith(told.base + "/") || seen.requests.push(one.url()));
  const page = await context.newPage();
  page.on("dialog", (one) => (seen.dialogs.push(one.message()), one.dismiss()));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (one) => one.type() === "error" && seen.errors.push(one.text()));
  page.on("popup", (one) => seen.dialogs.push(`popup ${one.url()}`));
  return page;
};
const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const choose = async (page, theme) => {
  await page.click(`button:has-text('${theme}')`);
  await page.waitForSelector(`html[data-theme=${theme}] footer`);
};
const shot = async (page, name) => told.shots && page.screenshot({ path: `${told.shots}/${name}.png`, fullPage: true });
const faults = async (page) => {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run(document));
  return violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes[0].target} ${one.nodes[0].failureSummary}`);
};

// by keyboard: / to search, arrows through the hits, enter to open; then history
let page = await visitor({ viewport: { width: 1200, height: 850 } });
await page.goto(`${told.base}/web`);
await page.keyboard.press("/");
seen.searching = await page.evaluate(() => document.activeElement.name);
await page.keyboard.type(told.question);
await Promise.all([page.waitForURL(/search/), page.keyboard.press("Enter")]);
seen.marked = await page.locator("mark").first().textContent();
const hits = await page.locator(".hits a.item").allTextContents();
await page.keyboard.press("ArrowDown");
await page.keyboard.press("ArrowDown");
await page.keyboard.press("ArrowUp");
seen.walked = (await page.evaluate(() => document.activeElement.textContent)) === hits[0];
await Promise.all([page.waitForURL(/\/page\//), page.keyboard.press("Enter")]);
seen.opened = await page.locator("h1").textContent();
await Promise.all([page.waitForURL(/\/history\//), page.click("text=What changed")]);
seen.added = await page.locator(".diff .added").count();

// light and dark: the system's, and the reader's
await page.emulateMedia({ colorScheme: "light" });
seen.light = await background(page);
await page.emulateMedia({ colorScheme: "dark" });
seen.dark = await background(page);
await choose(page, "light");
seen.chosen = await background(page);
await choose(page, "dark");
await page.emulateMedia({ colorScheme: "light" });
seen.chosenDark = await background(page);

// every page: what runs, what is asked for, what cannot be used by everybody, what is too wide for a phone
for (const [theme, width] of [["light", 1200], ["dark", 390]]) {
  page = await visitor({ viewport: { width, height: 844 }, colorScheme: theme });
  for (const [name, path] of Object.entries(told.paths)) {
    await page.goto(told.base + path);
    const [across, ran] = await page.evaluate(() => [document.documentElement.scrollWidth, document.title.includes("ran")]);
    if (across > width) seen.wide.push(`${name} is ${across} wide at ${width}`);
    if (ran) seen.ran.push(name);
    if (!name.startsWith("hostile")) {
      const found = await faults(page);
      if (found.length) seen.axe[`${name} ${theme}`] = found;
      await shot(page, `${name}-${theme}`);
    }
  }
}

// without scripts
page = await visitor({ javaScriptEnabled: false });
await page.goto(`${told.base}/web`);
await page.fill("input[type=search]", told.question);
await page.press("input[type=search]", "Enter");
await page.waitForURL(/search/);
await page.click(".hits a.item >> nth=0");
await page.waitForURL(/\/page\//);
await choose(page, "dark");
seen.plain = [await page.locator("h1").textContent(), await page.locator("html").getAttribute("data-theme")];

await browser.close();
console.log(JSON.stringify(seen));
