/** GPUs that compute wrongly or are lost: the CPU computes where nobody asks for the GPU, and asking for it is an error. */
import { afterAll, expect, test } from "vitest";
import type { LoadOptions, LoadProgress, TrainStep, WebReft } from "webreft";
import { all, EXAMPLES, failure, LOREFT, load, Q8 } from "./fixtures.js";

const GREEDY = { maxTokens: 4 };

/** A model on a machine whose GPU has a fault. */
function loadFaulty(name: string, options: LoadOptions) {
  const worker = new Worker(new URL("./workers/faulty-gpu.ts", import.meta.url), { type: "module", name });
  return load(Q8, { worker, ...options });
}

const channel = new BroadcastChannel("lose the GPU");
const lose = () => channel.postMessage(null);
afterAll(() => channel.close());

/** Loses the GPU while it is compared with the CPU. */
const loseInCheck = ({ phase }: LoadProgress) => {
  if (phase === "check") lose();
};

/** The model works on the CPU, and its one warning says why. */
async function expectOnCpu(model: WebReft, why: RegExp) {
  expect(model.info).toMatchObject({ backend: "cpu", warnings: [expect.stringMatching(why)] });
  expect(await model.complete("four and", GREEDY)).not.toBe("");
}

test("a GPU that computes rightly is taken", async () => {
  const { info } = await loadFaulty("sound", { backend: "auto" });
  expect(info).toMatchObject({ backend: "gpu", adapter: { name: "a GPU of the tests" }, warnings: [] });
});

test("a GPU that computes wrong values is left, or refused with the kernel's name", async () => {
  const model = await loadFaulty("wrong", { backend: "auto", contextLength: 100 });
  await expectOnCpu(model, /computes wrong values: glu/);
  const error = await failure(loadFaulty("wrong", { backend: "gpu", contextLength: 100 }));
  expect(error).toMatchObject({ kind: "device", message: expect.stringContaining("computes wrong values: glu") });
});

test("a GPU that is lost in the check is left, or refused", async () => {
  const options = { contextLength: 90, onProgress: loseInCheck };
  const model = await loadFaulty("lost", { backend: "auto", ...options });
  await expectOnCpu(model, /GPU was lost/);
  const error = await failure(loadFaulty("lost", { backend: "gpu", ...options }));
  expect(error).toMatchObject({ kind: "device", message: expect.stringContaining("lost") });
});

test("a GPU that is lost in a training ends it, and it goes on from its last checkpoint on the CPU", async () => {
  const options = { epochs: 8, seed: 5 };
  const model = await loadFaulty("lost", { backend: "gpu" });
  const before: TrainStep[] = [];
  let checkpoint = new Uint8Array();
  const work = async () => {
    const onCheckpoint = (bytes: Uint8Array<ArrayBuffer>) => {
      checkpoint = bytes;
    };
    for await (const step of model.reft(LOREFT).train(EXAMPLES, { ...options, onCheckpoint })) {
      before.push(step);
      if (step.step === 3) lose();
    }
  };
  expect(await failure(work())).toMatchObject({ kind: "device", message: expect.stringContaining("lost") });
  expect((await failure(model.complete("four and", GREEDY))).kind).toBe("device");
  await model.dispose();

  const onCpu = await load();
  const whole = await all(onCpu.reft(LOREFT).train(EXAMPLES, options));
  const after = await all((await onCpu.resume(checkpoint, EXAMPLES)).steps);
  expect([...before, ...after].map(({ step }) => step)).toEqual(whole.map(({ step }) => step));
  for (const [i, { loss }] of [...before, ...after].entries()) {
    expect(Math.abs(loss - (whole[i]?.loss ?? Number.NaN)), `step ${i + 1}`).toBeLessThan(1e-3);
  }
});
