/**
 * `node demo/headless.mjs ADDRESS BACKEND` takes the page through its main job in headless Chromium, as a visitor would: load the built-in model,
 * ask, train, ask again, compare methods, save, open what was saved, ask once more, save the script for pyreft. Then the same
 * training is left in the middle by a reload, and gone on with; and a browser without durable storage trains by another method.
 * BACKEND is `gpu`, which the page's address then asks for, or `cpu`: a browser that has no adapter, so that the page falls back by itself.
 * Prints each phase as a line of JSON; fails if the page shows a problem, the loss did not fall, the comparison's numbers are
 * not real or touch what was trained, the reopened persona answers differently, the main thread is held, the training that was
 * left ends otherwise than the unbroken one, anything of it stays behind, or the page asks the network for anything once its model is there.
 */
import { readFile } from "node:fs/promises";
import process from "node:process";
import { chromium } from "playwright-core";
import { ARGS_WITHOUT_GPU, BROWSER_ARGS, browserPath } from "../browser.mjs";
import { watchMainThread } from "../main-thread.mjs";

const [place, backend] = process.argv.slice(2);
const onGpu = backend === "gpu";
const address = onGpu ? `${place}?backend=gpu` : place;
const PATIENCE = 600_000;
/** Enough for the loss to fall, and for a reload in the middle: the CPU takes a fraction of a second for a step, a program in place of a GPU seconds. */
const EPOCHS = onGpu ? 5 : 60;
/** Of each method that is compared. */
const COMPARED_EPOCHS = onGpu ? 1 : 3;
/** What a task of the page's main thread may take of a core. By the clock it is longer where others want the cores, too. */
const TASK_MS = 50;
const began = performance.now();
const secondsSince = (start) => Number(((performance.now() - start) / 1000).toFixed(3));
const tell = (phase, facts) => console.log(JSON.stringify({ backend, phase, ...facts }));

const browser = await chromium.launch({
  executablePath: browserPath(),
  args: onGpu ? BROWSER_ARGS : ARGS_WITHOUT_GPU,
  headless: true,
});
const context = await browser.newContext();
context.setDefaultTimeout(PATIENCE);
const warnings = [];
/** Addresses that the page and its workers asked for, before their model was there and after. */
const requests = { before: [], after: [] };
let modelIsThere = false;
context.on("request", (request) => {
  const url = request.url();
  if (url.startsWith("http")) requests[modelIsThere ? "after" : "before"].push(url);
});
let page = await newPage();

async function newPage() {
  modelIsThere = false;
  const made = await context.newPage();
  made.on("pageerror", (error) => console.error("page:", error.message));
  made.on("console", (message) => {
    if (message.type() === "error") console.error("console:", message.text());
    if (message.type() === "warning") warnings.push(message.text());
  });
  return made;
}

const part = (id) => page.getByTestId(id);
const text = async (id) => (await part(id).textContent())?.trim() ?? "";
const value = async (id) => Number(await part(id).getAttribute("value"));

/** Waits until the page is idle again, with a model. A problem that it shows ends everything. */
async function idle() {
  const isIdle = () => {
    const by = (id) => document.querySelector(`[data-testid=${id}]`);
    return !by("problem").hidden || by("ask")?.disabled === false;
  };
  await page.waitForFunction(isIdle, undefined, { polling: 100 });
  if (await part("problem").isVisible()) throw new Error(`the page says: ${await text("problem")}`);
}

async function ask() {
  const start = performance.now();
  await part("ask").click();
  await idle();
  return { base: await text("answer-base"), reft: await text("answer-reft"), seconds: secondsSince(start) };
}

/** Takes a picture of the page, where WEBREFT_SCREENSHOTS names a folder for it. */
async function picture(name) {
  const folder = process.env.WEBREFT_SCREENSHOTS;
  if (folder) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
}

/** Step, loss and seconds of each row of the page's list. */
const rows = () =>
  part("steps").evaluate((body) =>
    [...body.rows].map((row) => [...row.querySelectorAll("data")].map((data) => Number(data.value))),
  );

/** Begins a training by the given button, and tells each step as its row appears; returns the losses. */
async function train(begin) {
  await part(begin).click();
  const losses = [];
  for (let running = true; running; ) {
    running = await part("stop").isVisible();
    for (const [step, loss, seconds] of (await rows()).slice(losses.length)) {
      losses.push(loss);
      tell("step", { step, loss, seconds });
    }
    if (running) await page.waitForTimeout(50);
  }
  await idle();
  return losses;
}

async function setEpochs(epochs) {
  await page.getByText("Settings").click();
  await part("epochs").fill(String(epochs));
}

async function loadBuiltin() {
  await part("load-builtin").click();
  await idle();
  modelIsThere = true;
}

/** Nothing leaves the machine once the model is there. */
function checkRequests() {
  const { before, after } = requests;
  tell("requests", { before: before.length, after: after.length });
  if (!before.some((url) => url.endsWith(".gguf"))) throw new Error("the requests of the page's worker are not seen");
  if (after.length > 0) throw new Error(`the page asked the network for ${after} after its model was there`);
}

/** Files of trainings that the browser keeps for the page. */
const kept = () =>
  page.evaluate(async () => {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("trainings", { create: true });
    const names = [];
    for await (const name of folder.keys()) names.push(name);
    return names;
  });

/** Leaves a training by a reload when something of it is kept, and goes on with it; returns all of its losses. */
async function trainWithBreak() {
  await part("train").click();
  await page.waitForFunction(() => document.querySelectorAll("[data-testid=steps] tr").length > 2, undefined, {
    polling: 50,
  });
  while ((await kept()).length === 0) {
    if (await part("stop").isHidden()) throw new Error("the training ended before anything of it was kept");
    await page.waitForTimeout(50);
  }
  await page.close();
  page = await newPage();
  await page.goto(address);
  await loadBuiltin();
  await part("unfinished").waitFor();
  tell("left", { offer: await text("unfinished") });
  await picture("left");
  return train("go-on");
}

/** Chooses a kind; returns how many numbers the page says that it trains. */
async function wouldTrain(kind) {
  await part("kind").selectOption(kind);
  await page.waitForFunction(
    (counted) => document.querySelector("[data-testid=would-train]")?.dataset.kind === counted,
    kind,
    { polling: 50 },
  );
  const trainable = await value("trainable");
  if (!(trainable > 0)) throw new Error(`${kind} trains nothing: ${await text("would-train")}`);
  return trainable;
}

/** Of each row of the comparison the kind, the numbers, and what it says. */
const compared = () =>
  part("compared").evaluate((body) =>
    [...body.rows].map((row) => ({
      kind: row.dataset.kind,
      numbers: [...row.querySelectorAll("data")].map((data) => Number(data.value)),
      words: row.innerText,
    })),
  );

/** Compares the methods that the page begins with; then some that fail, and some that are stopped. */
async function compare() {
  await part("compare-epochs").fill(String(COMPARED_EPOCHS));
  await part("compare").click();
  await idle();
  const rows = await compared();
  await picture("compared");
  const chosen = await part("kind").inputValue();
  await part("method").click();
  for (const { kind, numbers } of rows) {
    const [trained, bytes, loss, accuracy, step, seconds] = numbers;
    tell("compared", { kind, trained, bytes, loss, accuracy, step, seconds });
    const isReal = bytes > 4 * trained && loss > 0 && accuracy >= 0 && accuracy <= 1 && step >= 1 && seconds > 0;
    if (!isReal || !numbers.every(Number.isFinite)) throw new Error(`the comparison says of ${kind}: ${numbers}`);
    const expected = await wouldTrain(kind);
    if (trained !== expected) throw new Error(`${kind} trained ${trained} numbers, and would train ${expected}`);
  }
  await wouldTrain(chosen);
  await part("method").click();
  const kinds = rows.map(({ kind }) => kind).join();
  if (kinds !== "loreft,lora") throw new Error(`compared were ${kinds}`);
  if (!(await text("compare-status")).includes("3 of 10 examples")) throw new Error(await text("compare-status"));

  await part("compare-epochs").fill("0");
  await part("compare").click();
  await idle();
  const failed = await compared();
  tell("failed to compare", { rows: failed.map(({ words }) => words) });
  if (failed.length !== 2 || !failed.every(({ words }) => words.includes("epochs: expected at least 1")))
    throw new Error("a row does not say what went wrong");

  await part("compare-epochs").fill("1000");
  await part("compare").click();
  await page.waitForFunction(() => document.querySelectorAll("[data-testid=compared] data").length > 1, undefined, {
    polling: 50,
  });
  await part("compare-stop").click();
  await idle();
  const stopped = await compared();
  tell("stopped comparing", { rows: stopped.length, status: await text("compare-status") });
  if (stopped.length !== 1) throw new Error("a comparison that was stopped went on");
}

/** Another method, in a page whose browser keeps nothing: it trains as well, and says so on the console alone. */
async function trainWithoutStorage() {
  await page.close();
  page = await newPage();
  await page.addInitScript(() => {
    delete StorageManager.prototype.getDirectory;
  });
  await page.goto(address);
  await loadBuiltin();
  await part("method").click();
  const counts = {};
  for (const kind of await part("kind").evaluate((select) => [...select.options].map(({ value }) => value))) {
    counts[kind] = await wouldTrain(kind);
  }
  tell("methods", counts);
  await part("kind").selectOption("lora");
  await setEpochs(2);
  await picture("method");
  const losses = await train("train");
  tell("trained without storage", { origin: await text("persona"), losses });
  if (!(losses[1] < losses[0])) throw new Error(`the loss did not fall: ${losses}`);
  if (!warnings.some((text) => text.includes("not kept"))) throw new Error("nothing was said on the console");
}

/** The page says who computes: who was asked for, or the CPU where there is nobody else. */
async function checkMachine() {
  const said = await text("machine");
  const [line, device] = await Promise.all(
    ["machine", "device"].map((id) => part(id).evaluate((element) => element.dataset.backend)),
  );
  tell("machine", { name: await text("device"), said });
  if (line !== backend || device !== backend) throw new Error(`${line} and ${device} compute, not ${backend}`);
  if (!onGpu && !said.includes("no GPU, so the CPU computes")) throw new Error(`the page says: ${said}`);
}

async function work() {
  const longestTask = await watchMainThread(browser, page);
  await page.goto(address);
  const start = performance.now();
  await loadBuiltin();
  await checkMachine();
  const weights = await value("model-params");
  tell("model", { name: await text("model-name"), weights, seconds: secondsSince(start) });

  const prompt = await part("prompt").inputValue();
  const before = await ask();
  tell("answer before", { prompt, text: before.base, seconds: before.seconds });

  await picture("asked");
  await setEpochs(EPOCHS);
  const losses = await train("train");
  tell("trained", { steps: losses.length, seconds: await value("train-seconds") });
  const after = { base: await text("answer-base"), reft: await text("answer-reft") };
  tell("answer after", { prompt, text: after.reft, base: after.base });
  await picture("trained");

  const mine = await text("persona");
  // A program in place of a GPU would take minutes for what the run on the CPU shows.
  if (!onGpu) await compare();
  if ((await text("persona")) !== mine) throw new Error("the comparison took the place of what was trained");

  const [download] = await Promise.all([page.waitForEvent("download"), part("save").click()]);
  const file = await download.path();
  await idle();
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), part("load-persona").click()]);
  await chooser.setFiles({ name: download.suggestedFilename(), mimeType: "", buffer: await readFile(file) });
  await idle();
  const again = await ask();
  tell("answer of the saved persona", { prompt, text: again.reft, seconds: again.seconds });

  const [script] = await Promise.all([page.waitForEvent("download"), part("script").click()]);
  const archive = await readFile(await script.path());
  await idle();
  const names = ["train.py", "examples.jsonl"].filter((name) => archive.includes(name));
  tell("script", { file: script.suggestedFilename(), bytes: archive.length, names });
  if (names.length !== 2) throw new Error("the script for pyreft lacks a file");

  const memory = { wasmBytes: await value("wasm-bytes"), ...(onGpu && { gpuBytes: await value("gpu-bytes") }) };
  const seconds = secondsSince(began);
  const { wallMs, cpuMs } = await longestTask();
  tell("end", { seconds, ...memory, longestMainThreadTaskMs: wallMs, longestMainThreadTaskCpuMs: cpuMs });

  const [first, last] = [losses[0], losses.at(-1)];
  if (!(last < first)) throw new Error(`the loss did not fall: ${first} at first, ${last} at last`);
  if (again.reft !== after.reft) throw new Error("the saved persona answers differently");
  if (cpuMs === 0 || cpuMs > TASK_MS)
    throw new Error(`a task held the main thread for ${cpuMs} ms; the limit is ${TASK_MS}`);
  if ((await kept()).length > 0) throw new Error("a training that came to its end is kept");

  if (onGpu) return;
  const broken = await trainWithBreak();
  tell("went on", { steps: broken.length, after: await text("answer-reft") });
  if (JSON.stringify(broken) !== JSON.stringify(losses)) throw new Error(`losses ${broken}, unbroken ${losses}`);
  if ((await text("answer-reft")) !== after.reft) throw new Error("the training that was left answers differently");
  if ((await kept()).length > 0) throw new Error("a training that was gone on with is kept");

  await trainWithoutStorage();
}

try {
  await work();
  checkRequests();
} catch (error) {
  tell("failed", { message: String(error.message ?? error) });
  process.exitCode = 1;
} finally {
  await browser.close();
}
