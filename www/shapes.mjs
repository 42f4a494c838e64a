/**
 * Loads models in headless Chromium, through the package as it is published, at WebGPU's default limits: `node shapes.mjs ADDRESS FILE…`,
 * where ADDRESS serves the package's folder. Each answers and trains a little. Prints a line of JSON for each; fails where one takes more
 * memory than it may.
 */
import { stat } from "node:fs/promises";
import process from "node:process";
import { chromium } from "playwright-core";
import { BROWSER_ARGS, browserPath } from "./browser.mjs";

/** What the wasm heap may grow to, whatever the model's size. */
const WASM_BYTES = 128e6;
/** GPU memory beside the cache of keys and values, by the file's size. */
const GPU_SHARE = 1.15;

const [address, ...files] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: browserPath(), args: BROWSER_ARGS, headless: true });
try {
  for (const file of files) {
    const { size } = await stat(file);
    const page = await browser.newPage();
    await page.goto(`${address}package.json`);
    await page.setContent('<input type="file">');
    await page.setInputFiles("input", file);
    const report = await page.evaluate(async () => {
      const { WebReft } = await import("./dist/index.js");
      const file = document.querySelector("input").files[0];
      const { needs } = await WebReft.inspect(file, { contextLength: 512 });
      const start = performance.now();
      const model = await WebReft.load(file, { contextLength: 512 });
      const loadMs = performance.now() - start;
      const loaded = await model.memory();
      let pieces = 0;
      for await (const _ of model.generate("a b c", { maxTokens: 2 })) pieces += 1;
      const reft = model.reft({ layers: [model.info.nLayer - 1], rank: 4 });
      const { loss } = await reft.trainStep([{ prompt: "a b", completion: "c d" }]);
      const { wasm } = await model.memory();
      await model.dispose();
      return { formats: model.info.formats, needs, loadMs, gpu: loaded.gpu, wasm, pieces, loss };
    });
    await page.close();
    console.log(JSON.stringify({ file, bytes: size, megabytesPerSecond: size / 1e3 / report.loadMs, ...report }));
    check(report.wasm < WASM_BYTES, `the wasm heap has ${report.wasm} bytes: expected less than ${WASM_BYTES}`);
    check(
      report.gpu <= GPU_SHARE * size,
      `${report.gpu} bytes on the GPU: expected at most ${GPU_SHARE} times ${size}`,
    );
    check(
      report.gpu === report.needs.load.bytes,
      `${report.gpu} bytes on the GPU: inspect said ${report.needs.load.bytes}`,
    );
    check(report.pieces > 0 && Number.isFinite(report.loss), `answered ${report.pieces} pieces, lost ${report.loss}`);
  }
} finally {
  await browser.close();
}

function check(holds, text) {
  if (!holds) throw new Error(text);
}
