/**
 * Measures a model in headless Chromium, through the package as it is published: `node bench.mjs ADDRESS MODEL TOKENS [BACKEND]`, where
 * ADDRESS serves the package's folder, and BACKEND is `gpu` unless it says `cpu`. Prints one line of JSON.
 */
import process from "node:process";
import { chromium } from "playwright-core";
import { BROWSER_ARGS, browserPath } from "./browser.mjs";

const [address, model, tokens, backend = "gpu"] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: browserPath(), args: BROWSER_ARGS, headless: true });
try {
  const page = await browser.newPage();
  await page.goto(`${address}package.json`);
  await page.setContent('<input type="file">');
  await page.setInputFiles("input", model);
  const report = await page.evaluate(
    async ([n, backend]) => {
      const { WebReft } = await import("./dist/index.js");
      const file = document.querySelector("input").files[0];
      const start = performance.now();
      const model = await WebReft.load(file, { backend });
      const loadMs = performance.now() - start;
      const measured = await model.bench(n);
      const { wasm } = await model.memory();
      await model.dispose();
      return { ...measured, loadMs, wasmBytes: wasm };
    },
    [Number(tokens), backend],
  );
  console.log(JSON.stringify(report));
} finally {
  await browser.close();
}
