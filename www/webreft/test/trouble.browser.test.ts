/** What bad input, bad timing and bad files get: one clear error, and nothing lost. */
import { expect, test, vi } from "vitest";
import { type LoadProgress, probe, type ReftConfig, WebReft } from "webreft";
import { all, EXAMPLES, failure, fileBytes, LOREFT, load, NANO, Q8, shared } from "./fixtures.js";

const PROMPT = "four and";

test("a backend that is none is refused before a file is asked for, with the list of those there are", async () => {
  const nowhere = new URL("/no/such/model.gguf", location.href);
  const error = await failure(WebReft.load(nowhere, { backend: "tpu" as "cpu" }));
  expect(error).toMatchObject({ kind: "input", retryable: false });
  expect(error.message).toBe('backend "tpu" is not known (known: auto, gpu, cpu)');
  expect((await failure(WebReft.inspect(Q8, { backend: "tpu" as "cpu" }))).message).toBe(error.message);
});

test("a browser that does not know WebGPU answers and trains on the CPU, and says why", async () => {
  const worker = () => new Worker(new URL("./workers/without-webgpu.ts", import.meta.url), { type: "module" });
  expect(await probe({ worker: worker() })).toEqual({ backend: "cpu", reason: "this browser has no WebGPU" });
  const model = await load(Q8, { worker: worker(), backend: "auto" });
  expect(model.info.backend).toBe("cpu");
  expect(model.info.warnings).toHaveLength(1);
  expect(await model.complete(PROMPT, { maxTokens: 4 })).toBe(
    await (await shared()).complete(PROMPT, { maxTokens: 4 }),
  );
  const steps = await all(model.reft(LOREFT).train(EXAMPLES, { epochs: 5 }));
  expect(steps[4]?.loss).toBeLessThan(steps[0]?.loss ?? 0);
  const refused = await failure(WebReft.load(Q8, { worker: worker(), backend: "gpu" }));
  expect(refused).toMatchObject({ kind: "device", message: 'backend "gpu": this browser has no WebGPU' });
});

test("a program in place of a GPU is not taken unless it is asked for", async () => {
  expect(await probe()).toMatchObject({ backend: "cpu", adapter: { software: true } });
  const { info } = await load(Q8, { backend: "auto" });
  expect(info).toMatchObject({ backend: "cpu", warnings: [expect.stringMatching(/swiftshader/i)] });
});

test("a model that the wasm heap cannot hold is refused before it is read, with both sizes", async () => {
  const bytes = await fileBytes(Q8);
  const key = new TextEncoder().encode("llama.context_length");
  const at = bytes.findIndex((_, i) => key.every((byte, j) => bytes[i + j] === byte));
  new DataView(bytes.buffer).setUint32(at + key.length + 4, 1 << 24, true); // after the type
  const phases: string[] = [];
  const options = { contextLength: 1 << 24, onProgress: ({ phase }: LoadProgress) => phases.push(phase) };
  const error = await failure(load(bytes, options));
  expect(error).toMatchObject({ kind: "device", message: expect.stringMatching(/needs \d+\.\d GB.*holds 4\.3 GB/) });
  expect(phases).toEqual(["header"]);
  const { needs } = await WebReft.inspect(bytes, { backend: "cpu", contextLength: 1 << 22 });
  expect(needs?.generate.fits).toBe(false);
});

test("an abort in the middle of loading ends it", async () => {
  const controller = new AbortController();
  const onProgress = () => controller.abort(new Error("enough"));
  const error = await failure(WebReft.load(Q8, { signal: controller.signal, onProgress }));
  expect(error.kind).toBe("aborted");
  expect(error.cause).toBe(controller.signal.reason);
});

test("a signal that is aborted already starts nothing", async () => {
  expect((await failure(WebReft.load(Q8, { signal: AbortSignal.abort() }))).kind).toBe("aborted");
});

test("an abort in the middle of an answer ends it, and the model goes on", async () => {
  const model = await load();
  const controller = new AbortController();
  let pieces = 0;
  const work = async () => {
    for await (const _ of model.generate(PROMPT, { maxTokens: 100, signal: controller.signal })) {
      pieces += 1;
      controller.abort();
    }
  };
  expect((await failure(work())).kind).toBe("aborted");
  expect(pieces).toBeLessThan(4);
  expect(await model.complete(PROMPT, { maxTokens: 4 })).toBeTypeOf("string");
});

test("an abort in the middle of training ends it, and keeps what was learned", async () => {
  const model = await load();
  const reft = model.reft(LOREFT);
  const controller = new AbortController();
  const work = async () => {
    for await (const { step } of reft.train(EXAMPLES, { epochs: 100, signal: controller.signal })) {
      if (step === 2) controller.abort();
    }
  };
  expect((await failure(work())).kind).toBe("aborted");
  expect((await reft.save()).length).toBeGreaterThan(0);
});

test("a second call while one is running is told so", async () => {
  const model = await load();
  const running = all(model.generate(PROMPT, { maxTokens: 30 }));
  const error = await failure(model.complete(PROMPT));
  expect(error).toMatchObject({ kind: "input", message: "busy: generate is running; wait for its end, or end it" });
  expect((await running).length).toBeGreaterThan(0);
});

test("disposing in the middle of an answer ends it", async () => {
  const model = await load();
  const work = async () => {
    for await (const _ of model.generate(PROMPT, { maxTokens: 100 })) void model.dispose();
  };
  expect((await failure(work())).kind).toBe("aborted");
});

test("disposing in the middle of training ends it", async () => {
  const model = await load();
  const work = async () => {
    for await (const _ of model.reft(LOREFT).train(EXAMPLES, { epochs: 100 })) void model.dispose();
  };
  expect((await failure(work())).kind).toBe("aborted");
});

test("a disposed model says that it is, however often", async () => {
  const model = await load();
  await model.dispose();
  await model.dispose();
  expect(await failure(model.complete(PROMPT))).toMatchObject({ kind: "input", message: "the model was disposed" });
});

test("what is no GGUF file is a file error", async () => {
  const error = await failure(WebReft.load(new Blob(["PK this is a zip file, or a page, but no model at all"])));
  expect(error.kind).toBe("file");
});

test("an empty file is a file error", async () => {
  expect((await failure(WebReft.load(new Blob([])))).kind).toBe("file");
});

test("a file cut off anywhere is a file error", async () => {
  const bytes = await fileBytes(Q8);
  for (const length of [3, 20, 300, 5_000, 40_000, bytes.length - 1]) {
    const error = await failure(WebReft.load(bytes.slice(0, length)));
    expect(error.kind, `cut at ${length}: ${error.message}`).toBe("file");
  }
});

test("an address without a file is a file error", async () => {
  expect((await failure(WebReft.load(new URL("/no/such/model.gguf", location.href)))).kind).toBe("file");
});

test.each<[string, Partial<ReftConfig>]>([
  ["a layer the model does not have", { layers: [4] }],
  ["no layers", { layers: [] }],
  ["a layer twice", { layers: [1, 1] }],
  ["rank 0", { rank: 0 }],
  ["a rank above the width", { rank: 65 }],
  ["a rank that is no whole number", { rank: 1.5 }],
  ["positions that say nothing", { positions: "x9" }],
  ["no positions", { positions: "" }],
])("%s is an input error", async (_, part) => {
  const model = await shared();
  const train = async () => model.reft({ ...LOREFT, ...part }).trainStep(EXAMPLES);
  const error = await failure(train());
  expect(error.kind, error.message).toBe("input");
  expect(await model.complete(PROMPT, { maxTokens: 2 })).toBeTypeOf("string");
});

test.each<[string, { prompt: string; completion: string }[]]>([
  ["no examples", []],
  ["an empty completion", [{ prompt: "one", completion: "" }]],
  ["an example longer than the context", [{ prompt: "one ".repeat(5000), completion: "un" }]],
])("%s is an input error", async (_, examples) => {
  const model = await shared();
  const reft = model.reft(LOREFT);
  const error = await failure(all(reft.train(examples)));
  expect(error.kind, error.message).toBe("input");
  expect((await reft.trainStep(EXAMPLES)).loss).toBeGreaterThan(0);
});

test("a prompt longer than the context is an input error", async () => {
  const model = await shared();
  expect((await failure(model.complete("word ".repeat(10_000)))).kind).toBe("input");
});

test("an option that is no option is an input error that names it", async () => {
  const model = await shared();
  const options = { maxToken: 3 };
  const error = await failure(model.complete(PROMPT, options as object));
  expect(error.kind).toBe("input");
  expect(error.message).toContain("maxToken");
});

test("interventions for another model are refused", async () => {
  const other = await load(NANO);
  const bytes = await other.reft({ layers: [1], rank: 2 }).save();
  const model = await load(Q8);
  expect((await failure(model.loadReft(bytes))).kind).toBe("input");
});

test.each([
  ["nothing", ""],
  ["text", "this is no safetensors file"],
])("%s in place of saved interventions is a file error", async (_, content) => {
  const model = await shared();
  expect((await failure(model.loadReft(await new Blob([content]).arrayBuffer()))).kind).toBe("file");
});

test("a saved file that is cut off is a file error", async () => {
  const model = await shared();
  const bytes = await model.reft(LOREFT).save();
  for (const length of [4, 100, bytes.length - 1]) {
    expect((await failure(model.loadReft(bytes.slice(0, length)))).kind).toBe("file");
  }
});

test.each([
  ["that stops at its start", () => URL.createObjectURL(new Blob(["throw new Error('no')"]))],
  ["that is not there", () => new URL("/no/such/worker.js", location.href)],
])("a worker %s is one clear error about a file", async (_, address) => {
  const worker = new Worker(address(), { type: "module" });
  const error = await failure(WebReft.load(Q8, { worker }));
  expect(error).toMatchObject({ kind: "file", retryable: true });
  expect(error.message).toContain("the webreft worker cannot be loaded");
});

test("a wasm file that is not there, or none, is one clear error about a file", async () => {
  for (const wasm of [new URL("/no/such/webreft.wasm", location.href), new URL("/", location.href)]) {
    const error = await failure(WebReft.load(Q8, { wasm }));
    expect(error, error.message).toMatchObject({ kind: "file", retryable: true });
    expect(error.message).toContain("the wasm file");
  }
});

test("a worker that is given twice is refused, and the first model keeps it", async () => {
  const worker = new Worker(new URL("./workers/plain.ts", import.meta.url), { type: "module" });
  const model = await load(Q8, { worker });
  const error = await failure(WebReft.load(Q8, { worker }));
  expect(error).toMatchObject({ kind: "input", message: expect.stringContaining("make a new one for each load") });
  expect(await model.complete(PROMPT, { maxTokens: 2 })).toBeTypeOf("string");
});

/** A worker that answers a load, and then nothing, not even whether it is there. */
function mute(script: string) {
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  return new Worker(url, { type: "module" });
}

const ANSWERS_LOAD = `onmessage = ({ data: { id, call } }) => {
  if (call === "load") postMessage({ id, kind: "done", value: { warnings: [] } });
  else for (;;);
}`;

test.each([
  ["is stuck", ANSWERS_LOAD],
  ["says nothing", "onmessage = () => {}"],
])("calls on a worker that %s end with an error after a while, and load works again", async (_, script) => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  try {
    const waiting = failure(WebReft.load(Q8, { worker: mute(script) }).then((model) => model.complete(PROMPT)));
    await new Promise((resolve) => setTimeout(resolve, 500));
    await vi.advanceTimersByTimeAsync(36_000);
    const error = await waiting;
    expect(error).toMatchObject({ kind: "device", retryable: true });
    expect(error.message).toContain("has not answered for 30 s");
  } finally {
    vi.useRealTimers();
  }
  expect(await (await load()).complete(PROMPT, { maxTokens: 2 })).toBeTypeOf("string");
});

test("a worker that its page ends settles what is under way", async () => {
  const worker = new Worker(new URL("./workers/plain.ts", import.meta.url), { type: "module" });
  const model = await load(Q8, { worker });
  worker.terminate();
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  try {
    const waiting = failure(model.complete(PROMPT));
    await vi.advanceTimersByTimeAsync(36_000);
    expect((await waiting).kind).toBe("device");
  } finally {
    vi.useRealTimers();
  }
});

test("an abort ends a call and a loop on a worker that does not answer", async () => {
  const model = await load(Q8, { worker: mute(ANSWERS_LOAD) });
  const controller = new AbortController();
  const waiting = failure(model.complete(PROMPT, { signal: controller.signal }));
  await new Promise((resolve) => setTimeout(resolve, 100)); // the worker has the call
  controller.abort(new Error("enough"));
  const error = await waiting;
  expect(error).toMatchObject({ kind: "aborted", cause: controller.signal.reason });
});

test("a call after an abort waits for the work that is ended", async () => {
  const model = await load();
  const controller = new AbortController();
  let next: Promise<string> | undefined;
  const work = async () => {
    for await (const _ of model.generate(PROMPT, { maxTokens: 200, signal: controller.signal })) {
      controller.abort();
      next ??= model.complete(PROMPT, { maxTokens: 3 });
    }
  };
  expect((await failure(work())).kind).toBe("aborted");
  expect(await next).toBe(await (await shared()).complete(PROMPT, { maxTokens: 3 }));
});
