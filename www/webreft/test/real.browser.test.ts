/** SmolLM2-135M in the browser, on the CPU and on SwiftShader, held to llama.cpp and pyreft as `tests/real.rs` holds the native engine. */
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { WebReft } from "webreft";
import startAddress from "../../../tests/real/browser_start.safetensors?url";
import references from "../../../tests/real/references.json";
import pyreft from "../../../tests/real/train.json";
import { all, fileBytes } from "./fixtures.js";

const { cases } = references.models["smollm2-135m-instruct"];
const { losses, grad_norms: norms } = pyreft.cases.loreft_l1_layer15;
/** Prompt and completion have room, and the check of a GPU does not get longer than it must. */
const CONTEXT = 128;

/** The model, loaded once for all tests of a group. */
function loaded(backend: "cpu" | "gpu"): () => WebReft {
  let model: WebReft | undefined;
  beforeAll(async () => {
    const source = new URL(`/@fs${inject("smollm2")}`, location.href);
    model = await WebReft.load(source, { backend, contextLength: CONTEXT });
  }, 300_000);
  afterAll(() => model?.dispose());
  return () => {
    if (!model) throw new Error("the model was not loaded");
    return model;
  };
}

type Case = (typeof cases)[number];

/** How far the mean nats of a completion's tokens are off llama.cpp's. A LoRA that is not trained yet changes nothing. */
async function natsOff(model: WebReft, { prompt, completion, nll }: Case): Promise<number> {
  const reft = model.reft({ kind: "lora", component: "query_output", layers: [model.info.nLayer - 1], rank: 1 });
  const { loss } = await reft.trainStep([{ prompt, completion }]);
  await reft.dispose();
  return Math.abs(loss - nll.reduce((sum, nats) => sum + nats, 0) / nll.length);
}

/** The interventions as pyreft began, and what their first step says of one example: on the CPU, which is held to pyreft. */
let start: Uint8Array<ArrayBuffer>;
const [example] = pyreft.examples as [(typeof pyreft.examples)[number]];
let onCpu: { loss: number; gradNorm: number };

describe("on the CPU", () => {
  const model = loaded("cpu");

  test.each([2, 5])("the answer to prompt %i is llama.cpp's", async (number) => {
    const { prompt, text, greedy } = cases[number] as Case;
    const pieces = await all(model().generate(prompt, { maxTokens: 48 }));
    expect(pieces.map(({ text }) => text).join("")).toBe(text);
    expect(pieces.map(({ id }) => id).slice(0, greedy.length)).toEqual(greedy);
  });

  test.each([0, 1, 2])("the nats of completion %i are llama.cpp's", async (number) => {
    expect(await natsOff(model(), cases[number] as Case)).toBeLessThan(1e-4);
  });

  test("four steps of training are pyreft's", async () => {
    const { reft, steps } = await model().resume(
      (await fileBytes(new URL(startAddress, location.href))).buffer,
      pyreft.examples,
    );
    start = await reft.save();
    const made = await all(steps);
    expect(made).toHaveLength(4);
    for (const [i, { loss, gradNorm }] of made.entries()) {
      expect(Math.abs(loss - (losses[i] ?? Number.NaN)), `loss of step ${i + 1}`).toBeLessThan(1e-3);
      expect(Math.abs(gradNorm / (norms[i] ?? Number.NaN) - 1), `gradient of step ${i + 1}`).toBeLessThan(1e-2);
    }
    onCpu = await (await model().loadReft(start)).trainStep([example]);
  });
});

describe("on SwiftShader", () => {
  const model = loaded("gpu");

  test("the nats of completion 0 are llama.cpp's, and so is the first token of an answer", async () => {
    expect(model().info.backend).toBe("gpu");
    const { prompt, greedy } = cases[0] as Case;
    const [piece] = await all(model().generate(prompt, { maxTokens: 1 }));
    expect(piece?.id).toBe(greedy[0]);
    expect(await natsOff(model(), cases[0] as Case)).toBeLessThan(1e-4);
  });

  test("loss and gradient of an example are the CPU's", async () => {
    const { loss, gradNorm } = await (await model().loadReft(start)).trainStep([example]);
    expect(Math.abs(loss - onCpu.loss)).toBeLessThan(1e-3);
    expect(Math.abs(gradNorm / onCpu.gradNorm - 1)).toBeLessThan(1e-2);
  });
});
