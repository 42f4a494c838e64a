/** SmolLM2-135M in the browser, on the CPU and on SwiftShader, held to llama.cpp and pyreft as `tests/real.rs` holds the native engine. */
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { WebReft } from "webreft";
import native from "../../../tests/real/browser.json";
import startAddress from "../../../tests/real/browser_start.safetensors?url";
import references from "../../../tests/real/references.json";
import pyreft from "../../../tests/real/train.json";
import { all, fileBytes } from "./fixtures.js";

const { cases } = references.models["smollm2-135m-instruct"];
const { learning_rate: learningRate, ...first } = pyreft.cases.loreft_l1_layer15;
/** Prompt and completion have room, and the check of a GPU does not get longer than it must. */
const CONTEXT = 128;

/** The model, loaded once for all tests of a group. */
function loaded(backend: "cpu" | "gpu"): () => WebReft {
  let model: WebReft | undefined;
  beforeAll(async () => {
    const source = new URL(`/@fs${inject("smollm2")}`, location.href);
    model = await WebReft.load(source, { backend, contextLength: CONTEXT });
  }, 400_000);
  afterAll(() => model?.dispose());
  return () => {
    if (!model) throw new Error("the model was not loaded");
    return model;
  };
}

type Case = (typeof cases)[number];

/** Where the gradient ends that is compared on both machines. */
const LAYER = 20;

/** A step of a LoRA that is not trained yet, and so changes nothing: its loss is the mean nats of the completion's tokens. */
async function step(model: WebReft, { prompt, completion }: Case) {
  const reft = model.reft({ kind: "lora", component: "query_output", layers: [LAYER], rank: 1, seed: 1 });
  const made = await reft.trainStep([{ prompt, completion }]);
  await reft.dispose();
  return made;
}

const mean = (numbers: number[]) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

/** The length of the gradient of that step on the CPU, which is held to pyreft. */
let onCpu: number;

describe("on the CPU", () => {
  const model = loaded("cpu");

  test.each([2, 5])("the answer to prompt %i is llama.cpp's", async (number) => {
    const { prompt, text, greedy } = cases[number] as Case;
    const pieces = await all(model().generate(prompt, { maxTokens: 48 }));
    expect(pieces.map(({ text }) => text).join("")).toBe(text);
    expect(pieces.map(({ id }) => id).slice(0, greedy.length)).toEqual(greedy);
  });

  test.each([0, 1, 2])("the nats of completion %i are llama.cpp's", async (number) => {
    const { loss, gradNorm } = await step(model(), cases[number] as Case);
    expect(Math.abs(loss - mean(cases[number]?.nll ?? []))).toBeLessThan(1e-4);
    if (number === 0) onCpu = gradNorm;
  });

  test("four steps of training are the native engine's, and the first is pyreft's", async () => {
    const reft = await model().loadReft(await fileBytes(new URL(startAddress, location.href)));
    const steps = await all(reft.train(pyreft.examples, { epochs: 4, learningRate }));
    expect(steps).toHaveLength(4);
    for (const { losses, grad_norms: norms, n } of [
      { ...native, n: 4 },
      { losses: first.losses, grad_norms: first.grad_norms, n: 1 },
    ]) {
      for (const [i, { loss, gradNorm }] of steps.slice(0, n).entries()) {
        expect(Math.abs(loss - (losses[i] ?? Number.NaN)), `loss of step ${i + 1}`).toBeLessThan(1e-3);
        expect(Math.abs(gradNorm / (norms[i] ?? Number.NaN) - 1), `gradient of step ${i + 1}`).toBeLessThan(1e-2);
      }
    }
  });
});

describe("on SwiftShader", () => {
  const model = loaded("gpu");

  test("the nats of completion 0 are llama.cpp's, and the gradient is the CPU's", async () => {
    expect(model().info.backend).toBe("gpu");
    const { loss, gradNorm } = await step(model(), cases[0] as Case);
    expect(Math.abs(loss - mean(cases[0]?.nll ?? []))).toBeLessThan(1e-4);
    expect(Math.abs(gradNorm / onCpu - 1)).toBeLessThan(1e-2);
  }, 300_000);
});
