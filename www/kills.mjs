/**
 * `node kills.mjs ADDRESS MODEL COUNT SEED` trains in headless Chromium, kills tab or browser at a random time, goes on from what is stored, and
 * compares what was learned with an unbroken training, to the bit. ADDRESS serves the package's folder; the seed decides how and when is killed.
 * Prints a line of JSON for each kill, and one in the end.
 */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { chromium } from "playwright-core";
import { ARGS_WITHOUT_GPU, browserPath } from "./browser.mjs";
import { randomOf } from "./random.mjs";

const [address, model, count, seed] = process.argv.slice(2);
const random = randomOf(Number(seed));
/** The browser's own folder: what it has stored survives it there. */
const profile = await mkdtemp(join(tmpdir(), "webreft-kills-"));
let context;

/** A page with the package, in a browser that is started if it does not run. */
async function open() {
  context ??= await chromium.launchPersistentContext(profile, {
    executablePath: browserPath(),
    args: ARGS_WITHOUT_GPU,
    headless: true,
  });
  const page = await context.newPage();
  await page.goto(`${address}package.json`);
  await page.setContent('<input type="file">');
  await page.setInputFiles("input", model);
  return page;
}

/** Trains to the end, from what is stored if something is; returns what was learned, and the step it went on from. */
function train(page) {
  return page.evaluate(async () => {
    const { WebReft, Store } = await import("./dist/index.js");
    const model = await WebReft.load(document.querySelector("input").files[0], { backend: "cpu", contextLength: 64 });
    const store = await Store.open("kills");
    const examples = ["one", "two", "three", "four"].map((prompt) => ({ prompt, completion: `${prompt} ${prompt}` }));
    const left = await store.read("checkpoint");
    let stored;
    const options = {
      onCheckpoint: (bytes) => {
        stored = store.write("checkpoint", bytes);
      },
    };
    const fresh = () => {
      const reft = model.reft({ layers: [1, 3], rank: 2, positions: "f1+l1", seed: 7 });
      return { reft, steps: reft.train(examples, { epochs: 150, batchSize: 2, seed: 5, ...options }) };
    };
    const { reft, steps } = left ? await model.resume(left, examples, options) : fresh();
    let first;
    for await (const { step } of steps) first ??= step;
    await stored;
    const file = await reft.save();
    await store.remove("checkpoint");
    return { from: (first ?? 0) - 1, learned: btoa(String.fromCharCode(...file)) };
  });
}

/** Kills the browser with all of its processes, as a system does that runs out of memory. */
async function killBrowser() {
  for (const id of (await readdir("/proc")).map(Number).filter(Boolean)) {
    const line = await readFile(`/proc/${id}/cmdline`, "utf8").catch(() => ""); // it may have ended
    if (id === process.pid || !line.includes(profile)) continue;
    try {
      process.kill(id, "SIGKILL");
    } catch (error) {
      if (error.code !== "ESRCH") throw error; // it has ended meanwhile
    }
  }
  context = undefined;
}

const KILLS = {
  tab: (page) => page.close({ runBeforeUnload: false }),
  crash: async (page) => {
    const session = await page.context().newCDPSession(page);
    void session.send("Page.crash").catch(() => {}); // it never answers
    await page.waitForEvent("crash");
    await page.close();
  },
  browser: killBrowser,
};

try {
  const page = await open();
  const { learned: whole } = await train(page);
  const start = performance.now(); // the second time everything is at hand, as it is for those that are killed
  await train(page);
  const took = performance.now() - start;
  await page.close();
  let equal = 0;
  for (let kill = 1; kill <= Number(count); kill++) {
    const names = Object.keys(KILLS);
    const how = names[Math.floor(random() * names.length)];
    const after = Math.round((0.2 + 0.8 * random()) * took); // before that the model is loaded
    const killed = await open();
    void train(killed).catch(() => {}); // a tab that crashed never says so
    await new Promise((resolve) => setTimeout(resolve, after));
    await KILLS[how](killed);
    const next = await open();
    const { from, learned } = await train(next);
    await next.close();
    console.log(JSON.stringify({ kill, how, after, from, equal: learned === whole }));
    if (learned !== whole) throw new Error(`kill ${kill} of seed ${seed}: what was learned is other`);
    equal += 1;
  }
  console.log(JSON.stringify({ kills: Number(count), equal, seed }));
} finally {
  await context?.close();
  await killBrowser();
  await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}
