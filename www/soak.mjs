/**
 * `node soak.mjs ADDRESS MODEL LOADS STEPS ANSWERS` uses the package for long in headless Chromium: loads and disposes a model so many times, then
 * trains and answers so often with one. ADDRESS serves the package's folder. Prints a line of JSON for each part; fails where memory grows:
 * the wasm heap by a page, or the JavaScript heap by more than noise between the middle and the end.
 */
import process from "node:process";
import { chromium } from "playwright-core";
import { ARGS_WITHOUT_GPU, browserPath } from "./browser.mjs";

const [address, model, loads, steps, answers] = process.argv.slice(2);
/** What a heap may grow by, in bytes: garbage that is not collected yet. */
const NOISE = 3e6;

const browser = await chromium.launch({ executablePath: browserPath(), args: ARGS_WITHOUT_GPU, headless: true });
try {
  const page = await browser.newPage();
  await page.goto(`${address}package.json`);
  await page.setContent('<input type="file">');
  await page.setInputFiles("input", model);
  await page.evaluate(prepare);
  await soak(page, "loads", Number(loads));
  await page.evaluate(() => globalThis.keep());
  await soak(page, "steps", Number(steps));
  await soak(page, "answers", Number(answers));
} finally {
  await browser.close();
}

/** Does half of the work, looks, does the other half, and compares. */
async function soak(page, part, count) {
  const half = Math.ceil(count / 2);
  const session = await page.context().newCDPSession(page);
  const look = async () => {
    await session.send("HeapProfiler.collectGarbage");
    const { usedSize } = await session.send("Runtime.getHeapUsage");
    return { wasm: await page.evaluate(() => globalThis.wasm()), heap: usedSize };
  };
  await page.evaluate(([part, n]) => globalThis.work[part](n), [part, half]);
  const middle = await look();
  await page.evaluate(([part, n]) => globalThis.work[part](n), [part, half]);
  const end = await look();
  console.log(JSON.stringify({ part, count: 2 * half, middle, end }));
  if (end.wasm !== middle.wasm) throw new Error(`${part}: the wasm heap grew from ${middle.wasm} to ${end.wasm} bytes`);
  if (end.heap > middle.heap + NOISE)
    throw new Error(`${part}: the heap grew from ${middle.heap} to ${end.heap} bytes`);
}

/** In the page: what is done again and again. */
async function prepare() {
  const { WebReft } = await import("./dist/index.js");
  const [file] = document.querySelector("input").files;
  const load = () => WebReft.load(file, { backend: "cpu", contextLength: 64 });
  const examples = ["one", "two", "three", "four"].map((prompt) => ({ prompt, completion: `${prompt} ${prompt}` }));
  let model;
  let heap = 0;
  globalThis.wasm = async () => (model ? (await model.memory()).wasm : heap);
  globalThis.keep = async () => {
    model = await load();
  };
  globalThis.work = {
    async loads(count) {
      for (let i = 0; i < count; i++) {
        const once = await load();
        await once.complete("one", { maxTokens: 2 });
        heap = (await once.memory()).wasm;
        await once.dispose();
      }
    },
    async steps(count) {
      for (let left = count; left > 0; left -= 500) {
        const reft = model.reft({ layers: [1, 3], rank: 2, positions: "f1+l1" });
        const training = reft.train(examples, { epochs: Math.min(left, 500), batchSize: 4 });
        for await (const _ of training);
        await reft.trainStep(examples);
        await reft.dispose();
      }
    },
    async answers(count) {
      for (let i = 0; i < count; i++) await model.complete(`one ${i}`, { maxTokens: 2 });
    },
  };
}
