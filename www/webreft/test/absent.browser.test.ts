/** A browser that has WebGPU but no adapter for it: Chromium on a machine without a GPU, unless told otherwise. */
import { expect, test } from "vitest";
import { probe, WebReft } from "webreft";
import { all, EXAMPLES, failure, LOREFT, load, Q8 } from "./fixtures.js";

test("a model loads on the CPU, answers and trains, and a warning says why", async () => {
  const model = await load(Q8, { backend: "auto" });
  expect(model.info.backend).toBe("cpu");
  expect(model.info).not.toHaveProperty("adapter");
  expect(model.info.warnings).toEqual([expect.stringContaining("no WebGPU adapter")]);
  expect(await model.complete("four and", { maxTokens: 4 })).not.toBe("");
  const steps = await all(model.reft(LOREFT).train(EXAMPLES, { epochs: 5 }));
  expect(steps[4]?.loss).toBeLessThan(steps[0]?.loss ?? 0);
  expect((await model.memory()).gpu).toBe(0);
});

test("asking for the GPU is an error that says that there is none", async () => {
  const error = await failure(WebReft.load(Q8, { backend: "gpu" }));
  expect(error).toMatchObject({ kind: "device", retryable: true });
  expect(error.message).toContain("no WebGPU adapter");
});

test("asking who computes is no error", async () => {
  expect(await probe()).toEqual({ backend: "cpu", reason: expect.stringContaining("no WebGPU adapter") });
});

test("a model is inspected without an adapter", async () => {
  const { problem, needs } = await WebReft.inspect(Q8);
  expect(problem).toBeUndefined();
  expect(needs?.train.fits).toBe(true);
});
