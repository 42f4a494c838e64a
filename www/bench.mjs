/**
 * Measures a model in headless Chromium, through the package as it is published: `node bench.mjs ADDRESS BACKEND MODEL TOKENS SEQUENCES`,
 * where ADDRESS serves the package's folder, and BACKEND is `cpu` or `gpu`. Prints one line of JSON.
 */
import process from "node:process";
import { chromium } from "playwright-core";
import { BROWSER_ARGS, browserPath } from "./browser.mjs";

const [address, backend, model, ...numbers] = process.argv.slice(2);
const [tokens, sequences] = numbers.map(Number);
const browser = await chromium.launch({ executablePath: browserPath(), args: BROWSER_ARGS, headless: true });
try {
  const page = await browser.newPage();
  await page.goto(`${address}package.json`);
  await page.setContent('<input type="file">');
  await page.setInputFiles("input", model);
  const report = await page.evaluate(
    async ({ backend, ...batch }) => {
      const { WebReft } = await import("./dist/index.js");
      const file = document.querySelector("input").files[0];
      const start = performance.now();
      const model = await WebReft.load(file, { backend });
      const loadSeconds = (performance.now() - start) / 1e3;
      const measured = await model.bench(batch);
      const { wasm } = await model.memory();
      await model.dispose();
      return { ...measured, loadSeconds, wasmBytes: wasm };
    },
    { backend, tokens, sequences },
  );
  console.log(JSON.stringify(report));
} finally {
  await browser.close();
}
