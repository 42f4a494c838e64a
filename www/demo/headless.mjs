/** Drives the page at the given address in headless Chromium; prints each phase as a line of JSON. */
import process from "node:process";
import { chromium } from "playwright-core";
import { BROWSER_ARGS, browserPath } from "../browser.mjs";

const [address] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: browserPath(), args: BROWSER_ARGS, headless: true });
try {
  const page = await browser.newPage();
  await page.goto(address);
  await page.waitForFunction(() => document.body.textContent !== "");
  console.log(JSON.stringify({ phase: "adapter", ...JSON.parse(await page.textContent("body")) }));
} finally {
  await browser.close();
}
