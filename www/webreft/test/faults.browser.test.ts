/** GPUs that compute wrongly, or are lost while they are checked: the CPU computes where nobody asks for the GPU, and asking for it is an error. */
import { afterAll, expect, test } from "vitest";
import type { LoadOptions, LoadProgress, WebReft } from "webreft";
import { failure, load, Q8 } from "./fixtures.js";
import type { Fault } from "./workers/give-faults.js";

const GREEDY = { maxTokens: 4 };

/** A model on a machine whose GPU has a fault. */
function loadFaulty(name: string, options: LoadOptions) {
  const worker = new Worker(new URL("./workers/faulty-gpu.ts", import.meta.url), { type: "module", name });
  return load(Q8, { worker, ...options });
}

const channel = new BroadcastChannel("faults of the GPU");
const lose = () => channel.postMessage({ lose: "now" } satisfies Fault);
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
