/**
 * Loads models in headless Chromium, through the package as it is published, the first on the GPU at WebGPU's default limits and the others
 * on the CPU: `node shapes.mjs ADDRESS FILE…`, where ADDRESS serves the package's folder. Each answers and trains a little. Prints a line of
 * JSON for each; fails where one takes more memory than it may, or where the GPU computes something else than the CPU.
 */
import { stat } from "node:fs/promises";
import process from "node:process";
import { chromium } from "playwright-core";
import { BROWSER_ARGS, browserPath } from "./browser.mjs";

/** What the wasm heap may grow to where the GPU holds the model, whatever its size. */
const WASM_BYTES = 128e6;
/** Memory of a model beside the cache of keys and values, by the file's size. */
const SHARE = 1.15;

const [address, first, ...others] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: browserPath(), args: BROWSER_ARGS, headless: true });
try {
  // The check of a GPU runs every kind of product at its full size and attention over the whole context: SwiftShader takes long.
  await measure(first, "gpu", 2048);
  for (const file of others) await measure(file, "cpu", 512);
} finally {
  await browser.close();
}

async function measure(file, backend, contextLength) {
  const { size } = await stat(file);
  const page = await browser.newPage();
  await page.goto(`${address}package.json`);
  await page.setContent('<input type="file">');
  await page.setInputFiles("input", file);
  const report = await page.evaluate(
    async (options) => {
      const { WebReft } = await import("./dist/index.js");
      const file = document.querySelector("input").files[0];
      const { needs } = await WebReft.inspect(file, options);
      const start = performance.now();
      const model = await WebReft.load(file, options);
      const loadMs = performance.now() - start;
      const loaded = await model.memory();
      let pieces = 0;
      for await (const _ of model.generate("a b c", { maxTokens: 2 })) pieces += 1;
      const reft = model.reft({ layers: [model.info.nLayer - 1], rank: 4 });
      const { loss, seconds } = await reft.trainStep([{ prompt: "a b", completion: "c d" }]);
      const { wasm } = await model.memory();
      await model.dispose();
      return { formats: model.info.formats, needs, loadMs, loaded, wasm, pieces, loss, seconds };
    },
    { backend, contextLength },
  );
  await page.close();
  console.log(
    JSON.stringify({ file, backend, bytes: size, megabytesPerSecond: size / 1e3 / report.loadMs, ...report }),
  );
  const { needs, loaded, wasm, pieces, loss } = report;
  const expected = needs.load.bytes;
  const most = SHARE * size;
  if (backend === "gpu") {
    check(wasm < WASM_BYTES, `the wasm heap has ${wasm} bytes: expected less than ${WASM_BYTES}`);
    check(loaded.gpu <= most, `${loaded.gpu} bytes on the GPU: expected at most ${SHARE} times ${size}`);
    check(loaded.gpu === expected, `${loaded.gpu} bytes on the GPU: inspect said ${expected}`);
  } else {
    check(loaded.gpu === 0, `${loaded.gpu} bytes on the GPU of a model on the CPU`);
    check(
      loaded.wasm > expected,
      `the wasm heap has ${loaded.wasm} bytes: inspect said ${expected} for the model alone`,
    );
    check(loaded.wasm <= most, `the wasm heap has ${loaded.wasm} bytes: expected at most ${SHARE} times ${size}`);
  }
  check(pieces > 0 && Number.isFinite(loss), `answered ${pieces} pieces, lost ${loss}`);
}

function check(holds, text) {
  if (!holds) throw new Error(text);
}
