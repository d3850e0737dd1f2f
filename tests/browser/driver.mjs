// Drives one Chromium for the tests: a JSON object a line comes in and one goes out, `{id, do, …}` -> `{id, value}` or
// `{id, error}`. It ends with its input, so that no browser outlives the tests, and by itself after a while.
//
//   node driver.mjs NODE_MODULES CHROMIUM
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const [modules, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/`)("playwright-core");
const LONGEST = 15 * 60 * 1000;

const browser = await chromium.launch({
  executablePath,
  // A container has neither the privileges of the sandbox nor much of /dev/shm, and there is no network but loopback.
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--proxy-server=direct://"],
});
const pages = new Map();
/** Without halves of surrogate pairs, which not every reader of JSON takes. */
const whole = (text) => Buffer.from(text).toString();

const operations = {
  /** A page in a context of its own; `script` runs in it before anything of the page does. */
  async open({ url, script }) {
    const context = await browser.newContext();
    if (script) await context.addInitScript(script);
    const page = await context.newPage();
    const said = { context, page, errors: [], console: [] };
    // Uncaught exceptions and rejections that nobody handles.
    page.on("pageerror", (error) => said.errors.push(whole(String(error))));
    page.on("console", (message) => said.console.push(whole(`${message.type()}: ${message.text()}`)));
    said.devtools = await context.newCDPSession(page);
    pages.set(pages.size + 1, said);
    const number = pages.size;
    await page.goto(url);
    return number;
  },
  /** Through the developer tools, which no content security policy holds back. */
  async evaluate({ page, expression }) {
    const { devtools } = pages.get(page);
    const answer = await devtools.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (answer.exceptionDetails) throw new Error(JSON.stringify(answer.exceptionDetails));
    return answer.result.value ?? null;
  },
  async said({ page }) {
    const { errors, console } = pages.get(page);
    return { errors, console };
  },
  async offline({ page, offline }) {
    await pages.get(page).context.setOffline(offline);
  },
  async close({ page }) {
    const { context } = pages.get(page);
    await context.close();
  },
};

const end = async () => {
  await browser.close();
  process.exit(0);
};
setTimeout(end, LONGEST).unref();
const lines = createInterface({ input: process.stdin });
lines.on("close", end);
lines.on("line", async (line) => {
  const { id, do: name, ...rest } = JSON.parse(line);
  const answer = await operations[name](rest).then(
    (value) => ({ id, value: value ?? null }),
    (error) => ({ id, error: String(error) }),
  );
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
process.stdout.write(`${JSON.stringify({ id: 0, value: browser.version() })}\n`);
