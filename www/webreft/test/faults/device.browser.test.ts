/** GPUs that fail a buffer or a readback: the call ends in a typed error or is mended, the next one is right, and every buffer is counted. */
import { afterAll, expect, inject, test } from "vitest";
import { type WebReft, WebReftError } from "webreft";
import { all, EXAMPLES, LOREFT, load, Q8 } from "../fixtures.js";
import type { Fault, State } from "../workers/give-faults.js";

const channel = new BroadcastChannel("faults of the GPU");
afterAll(() => channel.close());

/** Gives the worker's GPU a fault, and asks how it is after that. */
function state(fault?: Fault): Promise<State> {
  return new Promise((resolve) => {
    channel.onmessage = ({ data }: MessageEvent<State>) => resolve(data);
    if (fault) channel.postMessage(fault);
    channel.postMessage("state");
  });
}

const bytesOfBuffers = async () => (await state()).bytes;

function loadOnGpu(): Promise<WebReft> {
  const worker = new Worker(new URL("../workers/faulty-gpu.ts", import.meta.url), { type: "module", name: "failing" });
  return load(Q8, { worker, backend: "gpu", contextLength: 128 });
}

/** Three steps and a few tokens, with what was learned. */
async function work(model: WebReft) {
  await using reft = model.reft(LOREFT);
  const steps = await all(reft.train(EXAMPLES, { epochs: 3, seed: 5 }));
  const pieces = await all(model.generate("four and", { maxTokens: 6, reft }));
  return { losses: steps.map(({ loss }) => loss), pieces, file: await reft.save() };
}

test("memory tells what a count of buffers tells, and everything is given back", async () => {
  const model = await loadOnGpu();
  const told = async () => (await model.memory()).gpu;
  const loaded = await told();
  expect(await bytesOfBuffers()).toBe(loaded);
  expect(loaded).toBe((await model.memory()).gpu);
  await work(model);
  const before = await told();
  expect(await bytesOfBuffers()).toBe(before);
  const reft = model.reft(LOREFT);
  await reft.trainStep(EXAMPLES);
  const within = await told();
  expect(within).toBeGreaterThan(before);
  expect(await bytesOfBuffers()).toBe(within);
  await reft.dispose();
  await work(model);
  expect(await told()).toBe(before);
  expect(await bytesOfBuffers()).toBe(before);
});

test.each(["buffer", "readback"] as const)(
  "a %s that fails, whichever, leaves the model usable and nothing behind",
  async (call) => {
    const model = await loadOnGpu();
    const whole = await work(model);
    const before = (await model.memory()).gpu;
    const stride = inject("allFaults") ? 1 : { buffer: 90, readback: 9 }[call];
    let [points, mended] = [0, 0];
    let isOver = false;
    for (let k = 1; !isOver; k += stride) {
      await state({ [call]: k } as Fault);
      let isMended = true;
      try {
        expect(await work(model), `${call} ${k}`).toEqual(whole);
      } catch (error) {
        if (!(error instanceof WebReftError)) throw error;
        isMended = false;
        expect(error.kind, `${call} ${k}: ${error.message}`).toBe("device");
      }
      isOver = (await state()).left[call] > 0;
      await state({ [call]: 0 } as Fault);
      if (!isMended) expect(await work(model), `after ${call} ${k}`).toEqual(whole);
      const after = (await model.memory()).gpu;
      expect(await bytesOfBuffers(), `after ${call} ${k}`).toBe(after);
      expect(after, `after ${call} ${k}`).toBeLessThanOrEqual(before);
      points += Number(!isOver);
      mended += Number(!isOver && isMended);
    }
    console.log(`${call}: ${points} failed, ${mended} mended within the call`);
    expect(points).toBeGreaterThan(1);
  },
  7_200_000,
);
