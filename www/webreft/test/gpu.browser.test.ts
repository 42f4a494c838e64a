/** A sample of the main job on WebGPU. The adapter is a program on most machines that test, so it is asked for by name. */
import { expect, test } from "vitest";
import { probe } from "webreft";
import numbers from "../../../tests/numbers/loreft.json";
import { all, EXAMPLES, failure, LOREFT, load, Q8 } from "./fixtures.js";

const loadOnGpu = () => load(Q8, { backend: "gpu" });

test("the adapter can be asked for before anything is loaded", async () => {
  const { adapter } = await probe();
  expect(adapter?.maxBufferSize).toBeGreaterThanOrEqual(1 << 28);
});

test("a model tells on which adapter it runs, and lies in its memory", async () => {
  const model = await loadOnGpu();
  const { backend, adapter } = model.info;
  expect(backend).toBe("gpu");
  expect(adapter).toEqual((await probe()).adapter);
  expect((await model.memory()).gpu).toBeGreaterThan(0);
});

test("tokens and losses are those of the native engine", async () => {
  const model = await loadOnGpu();
  const pieces = await all(model.generate(numbers.prompt, { maxTokens: numbers.maxTokens }));
  expect(pieces.map(({ id }) => id)).toEqual(numbers.idsBefore);
  const reft = model.reft({ ...numbers.reft, kind: "loreft", component: "block_output", act: "linear" });
  const steps = await all(reft.train(numbers.examples, { ...numbers.training, schedule: "linear" }));
  const off = steps.map(({ loss }, i) => Math.abs(loss - (numbers.losses[i] ?? Number.NaN)));
  expect(steps.length).toBe(numbers.losses.length);
  expect(Math.max(...off)).toBeLessThan(5e-4);
});

test("an abort in the middle of training ends it, and the model goes on", async () => {
  const model = await loadOnGpu();
  const controller = new AbortController();
  const work = async () => {
    const training = model.reft(LOREFT).train(EXAMPLES, { epochs: 100, signal: controller.signal });
    for await (const { step } of training) if (step === 2) controller.abort();
  };
  expect((await failure(work())).kind).toBe("aborted");
  expect(await model.complete("four and", { maxTokens: 4 })).not.toBe("");
});
