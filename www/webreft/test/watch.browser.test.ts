/** Work that takes long: it tells how far it is, and ends soon after it is told to, in the middle of a step and of a prompt. */
import { describe, expect, test } from "vitest";
import { type LoadProgress, type StepProgress, type TrainOptions, type TrainStep, WebReft } from "webreft";
import { failure, LOREFT, load, NANO } from "./fixtures.js";

/** Milliseconds from an abort to the end of what it ends. */
const SOON = 300;

const says = (times: number) => "The old ship sailed slowly over the cold sea. ".repeat(times);

/** A prompt of some 260 tokens. */
const PROMPT = says(24);

/** Examples that make steps of a second or so: a program in place of a GPU is slow. */
const learned = (backend: "cpu" | "gpu") => {
  const [count, times] = backend === "cpu" ? [4, 24] : [2, 4];
  return Array.from({ length: count }, (_, i) => ({
    prompt: `${i} ${says(times)}`,
    completion: "Arr, it be so, matey!",
  }));
};

const TRAINING: TrainOptions = { epochs: 3, batchSize: 2, learningRate: 4e-3 };

const short = (model: WebReft) => model.complete("Hello", { maxTokens: 3 });

/** Aborts as soon as this much is done; tells when, and when the work had ended. */
function aborting(share: number) {
  const controller = new AbortController();
  let at = Number.NaN;
  const onProgress = (progress: { phase: string; share: number }) => {
    if (progress.phase === "prepare" || progress.share < share || controller.signal.aborted) return;
    at = performance.now();
    controller.abort(new Error("enough"));
  };
  return { signal: controller.signal, onProgress, since: () => performance.now() - at };
}

describe.each(["cpu", "gpu"] as const)("on the %s", (backend) => {
  const examples = learned(backend);
  const training: TrainOptions = { ...TRAINING, batchSize: backend === "cpu" ? 2 : 1 };
  let kept: Promise<WebReft> | undefined;
  /** One model for all tests on this machine. */
  const opened = () => {
    kept ??= WebReft.load(NANO, { backend, contextLength: 512 });
    return kept;
  };

  test("a prompt that is long tells how much of it is read", async () => {
    const model = await opened();
    const shares: number[] = [];
    await model.complete(PROMPT, {
      maxTokens: 1,
      onProgress: ({ phase, share }) => {
        expect(phase).toBe("prefill");
        shares.push(share);
      },
    });
    expect(shares.length).toBeGreaterThan(2);
    expect(shares).toEqual(shares.toSorted((a, b) => a - b));
    expect(shares[0]).toBe(0);
    expect(shares.at(-1)).toBeGreaterThan(0.3);
    expect(shares.at(-1)).toBeLessThanOrEqual(1);
  });

  test("a prompt that is read ends soon after an abort, and the model goes on", async () => {
    const model = await opened();
    const before = await short(model);
    const { since, ...abort } = aborting(0.1);
    const error = await failure(model.complete(PROMPT, { maxTokens: 1, ...abort }));
    if (backend === "cpu") expect(since()).toBeLessThan(SOON); // a program in place of a GPU computes each kernel whole
    expect(error).toMatchObject({ kind: "aborted", message: "aborted: Error: enough", cause: abort.signal.reason });
    expect(await short(model)).toBe(before);
  });

  test("a training tells how far each step is, and what is before and after it", async () => {
    const model = await opened();
    const told: StepProgress[] = [];
    const options = {
      ...training,
      epochs: 2,
      validation: examples.length / 2,
      onProgress: (progress: StepProgress) => told.push(progress),
    };
    const steps: TrainStep[] = [];
    for await (const step of model.reft(LOREFT).train(examples, options)) steps.push(step);
    expect(steps).toHaveLength(2);
    expect(new Set(told.map(({ phase }) => phase))).toEqual(new Set(["prepare", "step", "validate"]));
    for (const { step, steps: all, share, secondsLeft } of told) {
      expect(step).toBeGreaterThanOrEqual(1);
      expect(step).toBeLessThanOrEqual(all);
      expect(share).toBeGreaterThanOrEqual(0);
      expect(share).toBeLessThanOrEqual(1);
      if (share > 0) expect(secondsLeft).toBeGreaterThanOrEqual(0);
    }
  });

  test("a loop that is left ends soon, with a checkpoint", async () => {
    const model = await opened();
    let [checkpoints, at] = [0, Number.NaN];
    const onCheckpoint = () => {
      checkpoints += 1;
    };
    for await (const _ of model.reft(LOREFT).train(examples, { ...training, onCheckpoint, checkpointSeconds: 600 })) {
      at = performance.now();
      break;
    }
    if (backend === "cpu") expect(performance.now() - at).toBeLessThan(SOON);
    expect(checkpoints).toBe(1);
    expect(await short(model)).not.toBe("");
  });

  test("loading goes through its phases in order", async () => {
    const phases: string[] = [];
    const onProgress = ({ phase, loaded, total }: LoadProgress) => {
      if (phases.at(-1) !== phase) phases.push(phase);
      if (total) expect(loaded).toBeLessThanOrEqual(total);
    };
    await load(NANO, { backend, contextLength: 512, onProgress });
    const ofGpu = phases.includes("check") ? ["compile", "check"] : ["compile"]; // checked once in a browser
    const download = phases.filter((phase) => phase === "download" || phase === "verify");
    expect(phases).toEqual([...download, "header", "weights", ...(backend === "gpu" ? ofGpu : [])]);
  });
});

const EXAMPLES = learned("cpu");

test("a training that is aborted in the middle of a step ends soon, and goes on from its last whole step", async () => {
  const model = await load(NANO, { contextLength: 512 });
  const whole: number[] = [];
  for await (const { loss } of model.reft(LOREFT).train(EXAMPLES, TRAINING)) whole.push(loss);

  const seen: number[] = [];
  let checkpoint: Uint8Array<ArrayBuffer> | undefined;
  const { since, signal, onProgress } = aborting(0.3);
  const work = async () => {
    const watch: TrainOptions = {
      signal,
      onProgress: (progress) => progress.step > 2 && onProgress(progress),
      checkpointSeconds: 600,
      onCheckpoint: (bytes) => {
        checkpoint = bytes;
      },
    };
    for await (const { loss } of model.reft(LOREFT).train(EXAMPLES, { ...TRAINING, ...watch })) seen.push(loss);
  };
  const error = await failure(work());
  expect(since()).toBeLessThan(SOON);
  expect(error).toMatchObject({ kind: "aborted", cause: signal.reason });
  expect(await short(model)).not.toBe("");

  if (!checkpoint) throw new Error("an abort leaves a checkpoint");
  const { steps } = await model.resume(checkpoint, EXAMPLES);
  for await (const { loss } of steps) seen.push(loss);
  expect(seen).toEqual(whole);
});

test("a step's seconds are its own, and all steps' those of the training", async () => {
  const model = await load(NANO, { contextLength: 512 });
  const reft = model.reft(LOREFT);
  const steps: TrainStep[] = [];
  let start = Number.NaN;
  for await (const step of reft.train(EXAMPLES, { ...TRAINING, epochs: 4 })) {
    if (steps.length === 0) start = performance.now(); // what is made before is no step's
    steps.push(step);
  }
  const wall = (performance.now() - start) / 1000;
  for (const { seconds, tokens, tokensPerSecond } of steps) {
    expect(seconds).toBeGreaterThan(0.001);
    expect(tokensPerSecond).toBeCloseTo(tokens / seconds, 6);
  }
  const sum = steps.slice(1).reduce((all, { seconds }) => all + seconds, 0);
  expect(sum).toBeGreaterThan(0.8 * wall);
  expect(sum).toBeLessThan(1.2 * wall);
});

test("a single step is aborted in its middle, and can be made again", async () => {
  const model = await load(NANO, { contextLength: 512 });
  const reft = model.reft(LOREFT);
  const controller = new AbortController();
  const onProgress = ({ phase, share }: StepProgress) => {
    if (phase === "step" && share > 0.2) controller.abort();
  };
  const error = await failure(reft.trainStep(EXAMPLES, { signal: controller.signal, onProgress }));
  expect(error.kind).toBe("aborted");
  const again = await model.reft(LOREFT).trainStep(EXAMPLES);
  expect((await reft.trainStep(EXAMPLES)).loss).toBe(again.loss);
});
