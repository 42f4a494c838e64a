/** GPUs that are lost while a model is used: the model is loaded again, and what was under way goes on as if nothing had been. */
import { afterAll, expect, inject, test } from "vitest";
import type { LoadOptions, Recovery, TrainStep, WebReft } from "webreft";
import { all, EXAMPLES, failure, LOREFT, load, numbersIn, Q8 } from "../fixtures.js";
import type { Fault } from "../workers/give-faults.js";

const TRAINING = { epochs: 5, batchSize: 2, seed: 5 };
const PROMPT = "four and";

const channel = new BroadcastChannel("faults of the GPU");
const give = (fault: Fault) => channel.postMessage(fault);
afterAll(() => channel.close());

/** A model on a GPU that may be lost. */
function loadOnGpu(options: LoadOptions = {}): Promise<WebReft> {
  const worker = new Worker(new URL("../workers/faulty-gpu.ts", import.meta.url), { type: "module", name: "lost" });
  return load(Q8, { worker, backend: "gpu", contextLength: 128, ...options });
}

const TOKENS = inject("allFaults") ? 64 : 16;

/** Ten steps and some tokens, with what was learned. */
async function work(model: WebReft, onStep: (step: TrainStep) => unknown = () => {}) {
  await using reft = model.reft(LOREFT);
  const losses: number[] = [];
  for await (const step of reft.train(EXAMPLES, TRAINING)) {
    losses.push(step.loss);
    onStep(step);
  }
  const pieces = await all(model.generate(PROMPT, { maxTokens: TOKENS, reft, temperature: 0.8, seed: 3 }));
  return { losses, pieces, file: await reft.save() };
}

test("a training and an answer go on where they were, and the page hears of it", async () => {
  const heard: Recovery[] = [];
  const model = await loadOnGpu({ onRecovery: (recovery) => heard.push(recovery) });
  const whole = await work(model);
  expect(heard).toEqual([]);
  const broken = await work(model, ({ step }) => step === 4 && give({ lose: "now" }));
  expect(broken).toEqual(whole);
  const states = heard.map(({ state }) => state);
  expect([states[0], states.at(-1)]).toEqual(["lost", "back"]);
  expect(heard[0]).toMatchObject({ reason: expect.stringContaining("GPU was lost") });
  expect(heard.at(-1)).toMatchObject({ info: { backend: "gpu" } });
  expect(states.slice(1, -1).every((state) => state === "loading")).toBe(true);
});

test("interventions, single steps and switched personas come back as they were", async () => {
  const model = await loadOnGpu();
  const steps = async (lose: (step: number) => void) => {
    const reft = model.reft(LOREFT);
    const loaded = await model.loadReft(await reft.save());
    for (let step = 1; step <= 6; step++) {
      lose(step);
      await reft.trainStep(EXAMPLES);
    }
    let text = "";
    for await (const { id } of model.generate(PROMPT, { maxTokens: 12, reft })) {
      text += ` ${id}`;
      if (text.split(" ").length === 4) await model.switch(loaded);
      if (text.split(" ").length === 7) lose(7);
    }
    lose(8);
    return { text, trained: numbersIn(await reft.save()), loaded: numbersIn(await loaded.save()) };
  };
  const whole = await steps(() => {});
  const lost = [3, 7, 8];
  expect(await steps((step) => lost.includes(step) && give({ lose: "now" }))).toEqual(whole);
});

test("a GPU that is lost before any submit is found again, and not a bit is other", async () => {
  const model = await loadOnGpu();
  const whole = await work(model);
  const stride = inject("allFaults") ? 1 : 70;
  let [points, nBack] = [0, 0];
  const again = await loadOnGpu({ onRecovery: ({ state }) => (nBack += Number(state === "back")) });
  for (let before = 1; ; before += stride) {
    give({ submit: before });
    await again.memory(); // the worker has heard of it
    expect(await work(again), `lost before submit ${before}`).toEqual(whole);
    if (nBack === points) break; // there are fewer submits
    points += 1;
    expect(nBack).toBe(points);
  }
  console.log(`GPU lost before ${points} submits: all recovered, to the same bits`);
  expect(points).toBeGreaterThan((TOKENS + 10) / stride - 1);
}, 7_200_000);

test("a GPU that is lost again and again is given up, and the CPU computes", async () => {
  const always = () => new Worker(new URL("../workers/always-lost.ts", import.meta.url), { type: "module" });
  const stubborn = await load(Q8, { worker: always(), backend: "auto" });
  expect(stubborn.info.backend).toBe("gpu");
  expect(await stubborn.complete(PROMPT, { maxTokens: 4 })).not.toBe("");
  expect(stubborn.info).toMatchObject({
    backend: "cpu",
    warnings: [expect.stringMatching(/the GPU failed 4 times within 2 minutes.*lost/)],
  });
});

test("an engine that traps ends the call with a bug, and is there again for the next one", async () => {
  const worker = new Worker(new URL("../workers/trapping.ts", import.meta.url), { type: "module" });
  const heard: string[] = [];
  const model = await load(Q8, { worker, onRecovery: ({ state }) => heard.push(state) });
  const reft = model.reft(LOREFT);
  await reft.trainStep(EXAMPLES);
  const file = await reft.save();
  const answer = await model.complete(PROMPT, { maxTokens: 8, reft });
  for (const call of [() => reft.scores([PROMPT]), () => model.hiddenStates(PROMPT)]) {
    heard.length = 0;
    const error = await failure(call());
    expect(error).toMatchObject({ kind: "bug", message: expect.stringContaining("loaded again by the next call") });
    expect(await model.complete(PROMPT, { maxTokens: 8, reft })).toBe(answer);
    expect(numbersIn(await reft.save())).toEqual(numbersIn(file));
    expect([heard[0], heard.at(-1)]).toEqual(["lost", "back"]);
  }
});
