/** Models of the Hub: stored, gone on with, checked, shared between tabs, loaded without a network, removed. */
import { afterEach, beforeAll, expect, inject, test, vi } from "vitest";
import { cdp } from "vitest/browser";
import { type GenerateOptions, type LoadOptions, type LoadProgress, Store, WebReft } from "webreft";
import { all, EXAMPLES, F32, failure, fileBytes, LOREFT, load, Q8 } from "./fixtures.js";
import type { Behaviour } from "./hub.js";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const REPOSITORY = "hf:tiny/gguf:Q8_0";
const GREEDY = { maxTokens: 4 };

afterEach(async () => {
  vi.restoreAllMocks();
  for (const { id } of await WebReft.models.list()) await WebReft.models.remove(id);
});

let sessions = 0;

/** An endpoint of a test's own, and what was asked of it. */
function hub(behaviour: Behaviour = "plain") {
  const session = `${performance.timeOrigin}-${sessions++}`;
  const endpoint = `${inject("hub")}/${behaviour}/${session}`;
  const asked = async (): Promise<string[]> => (await fetch(`${inject("hub")}/asked/${session}`)).json();
  return { endpoint, asked };
}

/** Other files of tests leave what they loaded by address. */
beforeAll(async () => {
  for (const { id } of await WebReft.models.list()) await WebReft.models.remove(id);
});

/** Loads until so many bytes have come, and is left there. */
async function leave(source: string, options: LoadOptions, bytes: number) {
  const controller = new AbortController();
  const onProgress = ({ phase, loaded }: LoadProgress) => {
    if (phase === "download" && loaded >= bytes) controller.abort("paused");
  };
  return failure(WebReft.load(source, { ...options, signal: controller.signal, onProgress }));
}

test("a model of the Hub is stored, listed with what it is, and loaded again without a request", async () => {
  const { endpoint, asked } = hub();
  const phases = new Set<string>();
  const first = await load(REPOSITORY, { endpoint, onProgress: ({ phase }) => phases.add(phase) });
  expect([...phases]).toEqual(["download", "verify", "header", "weights"]);
  expect(first.info.warnings).toEqual([]);
  const answer = await first.complete("one", GREEDY);
  const size = (await fileBytes(Q8)).length;
  const [stored, ...others] = await WebReft.models.list();
  expect(others).toEqual([]);
  expect(stored).toMatchObject({
    sources: [`${endpoint}/tiny/gguf@main:Q8_0`],
    revision: COMMIT,
    files: [{ name: "tiny-Q8_0.gguf", bytes: size, stored: size }],
    bytes: size,
    stored: size,
    complete: true,
  });
  expect(Date.now() - (stored?.used.getTime() ?? 0)).toBeLessThan(120_000);
  await first.dispose();
  const before = await asked();
  phases.clear();
  const again = await load(REPOSITORY, { endpoint, onProgress: ({ phase }) => phases.add(phase) });
  expect(await again.complete("one", GREEDY)).toBe(answer);
  expect([...phases]).toEqual(["header", "weights"]);
  expect(await asked()).toEqual(before);
});

test("one file that was asked for in two ways is stored once", async () => {
  const { endpoint, asked } = hub();
  await (await load(REPOSITORY, { endpoint })).dispose();
  await (await load("hf:tiny/gguf@main:tiny-Q8_0.gguf", { endpoint })).dispose();
  const stored = await WebReft.models.list();
  expect(stored.map(({ sources }) => sources.length)).toEqual([2]);
  expect((await asked()).filter((line) => line.includes("resolve"))).toHaveLength(1);
});

test("without a choice the usual quantization is taken", async () => {
  const { endpoint } = hub();
  const { info } = await load("hf:tiny/gguf", { endpoint });
  expect(info.formats[0]).toBe("Q4_0");
});

test("a connection that drops is taken up again where it was", async () => {
  const { endpoint, asked } = hub("drop");
  const seen: LoadProgress[] = [];
  const model = await load(REPOSITORY, { endpoint, onProgress: (progress) => seen.push(progress) });
  expect(await model.complete("one", GREEDY)).toBeTypeOf("string");
  const starts = (await asked()).flatMap((line) => /bytes=(\d+)-$/.exec(line)?.[1] ?? []).map(Number);
  expect(starts[0]).toBe(0);
  expect(starts[1]).toBeGreaterThan(0);
  const bytes = seen.filter(({ phase }) => phase === "download").map(({ loaded }) => loaded);
  expect(bytes).toEqual([...bytes].sort((a, b) => a - b));
});

test("a server that always drops ends in an error that may pass, and keeps what there is", async () => {
  const { endpoint } = hub("broken");
  const url = `${endpoint}/tiny/gguf/resolve/${COMMIT}/tiny-F16.gguf`;
  const error = await failure(WebReft.load(url));
  expect(error).toMatchObject({ kind: "file", retryable: true });
  const [stored] = await WebReft.models.list();
  expect(stored).toMatchObject({ complete: false });
});

test("a download that was left goes on in a new worker, with nothing fetched twice", async () => {
  const { endpoint, asked } = hub("slow");
  expect((await leave(REPOSITORY, { endpoint }, 60_000)).kind).toBe("aborted");
  const [left] = await WebReft.models.list();
  expect(left).toMatchObject({ complete: false });
  expect(left?.stored).toBeGreaterThanOrEqual(60_000);
  expect(left?.stored).toBeLessThan(left?.bytes ?? 0);
  let first: number | undefined;
  const onProgress = ({ phase, loaded }: LoadProgress) => {
    if (phase === "download") first ??= loaded;
  };
  const model = await load(REPOSITORY, { endpoint, onProgress });
  expect(await model.complete("one", GREEDY)).toBeTypeOf("string");
  expect(first).toBeGreaterThan(left?.stored ?? 0);
  const requests = (await asked()).filter((line) => line.includes("bytes=")).map((line) => line.split(" ")[2]);
  expect(requests).toEqual(["bytes=0-", `bytes=${left?.stored}-`]);
});

test("a page that goes away in the middle of a download leaves what it has for the next one", async () => {
  const { endpoint } = hub("slow");
  const worker = new Worker(new URL("./workers/plain.ts", import.meta.url), { type: "module" });
  await new Promise<void>((resolve) => {
    const onProgress = ({ phase, loaded }: LoadProgress) => {
      if (phase === "download" && loaded >= 60_000) resolve();
    };
    void failure(WebReft.load(REPOSITORY, { endpoint, worker, onProgress })); // the worker no longer answers
  });
  worker.terminate();
  const model = await load(REPOSITORY, { endpoint });
  expect(await model.complete("one", GREEDY)).toBeTypeOf("string");
});

test("a file whose hash is another one is deleted, and the error says so", async () => {
  const { endpoint } = hub("damaged");
  const error = await failure(WebReft.load(REPOSITORY, { endpoint }));
  expect(error).toMatchObject({ kind: "file", retryable: true });
  expect(error.message).toMatch(/expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}; it came damaged and was deleted/);
  expect(await WebReft.models.list()).toMatchObject([{ complete: false, stored: 0 }]);
});

test("a second load of the same model waits for the first, and finds its file", async () => {
  const { endpoint, asked } = hub("slow");
  const phases: string[] = [];
  const first = load(REPOSITORY, { endpoint });
  await vi.waitFor(async () => expect((await WebReft.models.list())[0]?.stored).toBeGreaterThan(0), 10_000);
  const second = load(REPOSITORY, { endpoint, onProgress: ({ phase }) => phases.push(phase) });
  const answers = await Promise.all([first, second].map(async (model) => (await model).complete("one", GREEDY)));
  expect(answers[0]).toBe(answers[1]);
  expect(phases[0]).toBe("waiting");
  expect(phases).not.toContain("download");
  expect((await asked()).filter((line) => line.includes("bytes="))).toHaveLength(1);
});

test("waiting ends with the signal, and a model that is being loaded is not removed", async () => {
  const { endpoint } = hub("slow");
  const controller = new AbortController();
  const first = load(REPOSITORY, { endpoint });
  const [model] = await vi.waitFor(async () => {
    const stored = await WebReft.models.list();
    expect(stored[0]?.stored).toBeGreaterThan(0);
    return stored;
  }, 10_000);
  expect(await failure(WebReft.models.remove(model?.id ?? ""))).toMatchObject({ kind: "input", retryable: true });
  const onProgress = () => controller.abort("enough");
  expect((await failure(WebReft.load(REPOSITORY, { endpoint, signal: controller.signal, onProgress }))).kind).toBe(
    "aborted",
  );
  await first;
});

test("a model that was removed is fetched again", async () => {
  const { endpoint, asked } = hub();
  await (await load(REPOSITORY, { endpoint })).dispose();
  const [stored] = await WebReft.models.list();
  await WebReft.models.remove(stored?.id ?? "");
  expect(await WebReft.models.list()).toEqual([]);
  await WebReft.models.remove("never there");
  await load(REPOSITORY, { endpoint });
  expect((await asked()).filter((line) => line.includes("bytes="))).toHaveLength(2);
});

test("without cache nothing is stored", async () => {
  const { endpoint } = hub();
  const model = await load(REPOSITORY, { endpoint, cache: false });
  expect(model.info.warnings).toEqual([]);
  expect(await WebReft.models.list()).toEqual([]);
});

test("a browser that stores nothing, or has no room, says so and reads in ranges", async () => {
  const { endpoint } = hub();
  for (const [lack, told] of [
    ["folder", "not here"],
    ["room", "0.2 MB are needed, 0.0 MB are free; remove models that are stored"],
  ]) {
    const worker = new Worker(new URL("./workers/without-storage.ts", import.meta.url), { type: "module", name: lack });
    const model = await load(REPOSITORY, { endpoint, worker });
    expect(model.info.warnings).toEqual([expect.stringContaining(told ?? "")]);
    expect(await model.complete("one", GREEDY)).toBeTypeOf("string");
    await model.dispose();
  }
  expect((await WebReft.models.list()).map(({ stored }) => stored)).toEqual([0]);
});

/** Gives the origin so many more bytes than it uses; without a number as many as ever. */
async function giveRoom(bytes?: number) {
  const { usage = 0 } = await navigator.storage.estimate();
  const quota = bytes === undefined ? {} : { quotaSize: usage + bytes };
  const session = cdp() as unknown as { send(method: string, params: object): Promise<unknown> }; // its types are playwright's
  await session.send("Storage.overrideQuotaForOrigin", { origin: location.origin, ...quota });
}

test("a quota that is used up while a model is stored leaves what there is, and the model is read in ranges", async () => {
  const { endpoint, asked } = hub();
  await giveRoom(100_000);
  try {
    const worker = new Worker(new URL("./workers/without-storage.ts", import.meta.url), {
      type: "module",
      name: "boast",
    });
    const model = await load(REPOSITORY, { endpoint, worker });
    expect(model.info.warnings).toEqual([expect.stringContaining("there is no room: 0.")]);
    expect(await model.complete("one", GREEDY)).toBeTypeOf("string");
  } finally {
    await giveRoom();
  }
  const [left] = await WebReft.models.list();
  expect(left).toMatchObject({ complete: false });
  await load(REPOSITORY, { endpoint });
  expect(await WebReft.models.list()).toMatchObject([{ complete: true }]);
  expect((await asked()).map((line) => line.split(" ")[2])).toContain(`bytes=${left?.stored}-`);
});

/** Writes other bytes into the middle of the stored file. */
async function damage() {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle("webreft-models");
  for await (const [name, handle] of folder.entries()) {
    if (!name.endsWith(".0")) continue;
    const file = await (handle as FileSystemFileHandle).createWritable({ keepExistingData: true });
    await file.write({ type: "write", position: 100, data: new Uint8Array(1000).fill(255) });
    await file.close();
  }
}

test.each(["without a hash", "with one"])(
  "a stored file (%s) that was damaged is removed, and fetched anew",
  async (how) => {
    const { endpoint, asked } = hub();
    const source = how === "with one" ? REPOSITORY : `${endpoint}/tiny/gguf/resolve/${COMMIT}/tiny-Q8_0.gguf`;
    const first = await load(source, { endpoint });
    const answer = await first.complete("one", GREEDY);
    await first.dispose();
    await damage();
    const error = await failure(WebReft.load(source, { endpoint }));
    expect(error).toMatchObject({ kind: "file", retryable: true });
    const [{ id } = { id: "" }] = await WebReft.models.list();
    expect(error.message).toContain("tiny-Q8_0.gguf: removed, load again to fetch it anew");
    expect(error.message).toContain(`WebReft.models.remove("${id}")`);
    expect(await WebReft.models.list()).toMatchObject([{ complete: false, stored: 0 }]);
    expect(await (await load(source, { endpoint })).complete("one", GREEDY)).toBe(answer);
    expect((await asked()).filter((line) => line.includes("resolve"))).toHaveLength(2);
  },
);

test("a model that its server has damaged, by its hash, is not fetched again", async () => {
  const { endpoint, asked } = hub();
  const error = await failure(WebReft.load("hf:tiny/broken", { endpoint }));
  expect(error).toMatchObject({ kind: "file", retryable: false });
  const [stored] = await WebReft.models.list();
  expect(stored).toMatchObject({ complete: true });
  expect(error.message).toContain(
    `the one that its server has, by its SHA-256; WebReft.models.remove("${stored?.id}")`,
  );
  await failure(WebReft.load("hf:tiny/broken", { endpoint }));
  expect((await asked()).filter((line) => line.includes("resolve"))).toHaveLength(1);
});

test("a web page in place of a model is not stored, and the model is fetched when it is there", async () => {
  const { endpoint } = hub("page");
  for (const source of [REPOSITORY, `${endpoint}/tiny/gguf/resolve/${COMMIT}/tiny-Q4_0.gguf`]) {
    const error = await failure(WebReft.load(source, { endpoint }));
    expect(error).toMatchObject({ kind: "file", retryable: true });
    expect(error.message).toContain("expected a GGUF file, got a web page");
    expect((await WebReft.models.list())[0]).toMatchObject({ stored: 0, complete: false });
    await load(source, { endpoint });
    expect((await WebReft.models.list())[0]).toMatchObject({ complete: true });
  }
});

test("a record that cannot be read is none", async () => {
  const { endpoint } = hub();
  await (await load(REPOSITORY, { endpoint })).dispose();
  const store = await Store.open("webreft-models");
  const [name = ""] = (await store.list()).filter((name) => name.endsWith(".json"));
  await store.write(name, new Blob(["{"]));
  expect(await WebReft.models.list()).toEqual([]);
  await load(REPOSITORY, { endpoint });
  expect(await WebReft.models.list()).toMatchObject([{ complete: true }]);
});

test("a large model that the wasm heap cannot hold is refused by its header, before it is fetched", async () => {
  const { endpoint, asked } = hub("huge");
  const phases: string[] = [];
  const url = `${endpoint}/tiny/long/resolve/${COMMIT}/long-Q8_0.gguf`;
  const options: LoadOptions = {
    backend: "cpu",
    contextLength: 1 << 24,
    onProgress: ({ phase }) => phases.push(phase),
  };
  const error = await failure(WebReft.load(url, options));
  expect(error).toMatchObject({ kind: "device", message: expect.stringMatching(/needs \d+\.\d GB.*holds 4\.3 GB/) });
  expect(phases).toEqual([]);
  expect((await asked()).map((line) => line.split(" ")[2])).toEqual(["bytes=0-", "bytes=0-4194303"]);
  expect((await WebReft.models.list()).map(({ stored }) => stored)).toEqual([0]);
});

test("a gated repository opens with a token", async () => {
  const { endpoint } = hub("gated");
  expect((await failure(WebReft.load(REPOSITORY, { endpoint }))).message).toContain("pass a token");
  await load(REPOSITORY, { endpoint, token: "hf_secret" });
});

test("a split model loads from the Hub, from the address of its first part, and from files in any order", async () => {
  const { endpoint } = hub();
  const whole = await load(REPOSITORY, { endpoint });
  const answer = await whole.complete("one", GREEDY);
  const address = (part: number) =>
    new URL(`${endpoint}/tiny/parts/resolve/${COMMIT}/tiny-Q8_0-0000${part}-of-00002.gguf`);
  const files = await Promise.all(
    [2, 1].map(async (part) => new File([await fileBytes(address(part))], address(part).pathname)),
  );
  for (const source of ["hf:tiny/parts", address(1), files]) {
    const model = await load(source, { endpoint });
    expect(await model.complete("one", GREEDY)).toBe(answer);
    await model.dispose();
  }
});

test("inspecting reads headers only, stores nothing, and tells what is stored", async () => {
  const { endpoint, asked } = hub();
  const size = (await fileBytes(Q8)).length;
  const told = await WebReft.inspect(REPOSITORY, { endpoint, contextLength: 64 });
  expect(told).toMatchObject({
    architecture: "llama",
    nLayer: 4,
    nEmbd: 64,
    nVocab: 320,
    problem: undefined,
    files: [{ name: "tiny-Q8_0.gguf", bytes: size, stored: 0 }],
    download: size,
    stored: 0,
    revision: COMMIT,
    needs: { contextLength: 64, load: { fits: true } },
  });
  expect(told.needs?.train.bytes).toBeGreaterThan(told.needs?.load.bytes ?? Number.POSITIVE_INFINITY);
  expect(await WebReft.models.list()).toEqual([]);
  expect(await asked()).toHaveLength(3);
  const model = await load(REPOSITORY, { endpoint });
  await model.dispose();
  const before = await asked();
  expect(await WebReft.inspect(REPOSITORY, { endpoint })).toMatchObject({ stored: size, download: size });
  expect(await asked()).toEqual(before);
});

test("a repository of safetensors is inspected from its configuration and its headers", async () => {
  const { endpoint } = hub();
  const url = `${endpoint}/tiny/safetensors/resolve/${COMMIT}/`;
  for (const source of ["hf:tiny/safetensors", url, `${url}config.json`]) {
    const { architecture, nLayer, nParams, files } = await WebReft.inspect(source, { endpoint });
    expect({ architecture, nLayer }).toEqual({ architecture: "llama", nLayer: 4 });
    expect(nParams).toBeGreaterThan(100_000);
    expect(files.map(({ name }) => name)).toEqual(["config.json", "tokenizer.json", "model.safetensors"]);
  }
});

test("a repository of safetensors answers as the GGUF file of the same weights does", async () => {
  const { endpoint } = hub();
  const options: GenerateOptions = { maxTokens: 12 };
  const whole = await load("hf:tiny/safetensors", { endpoint });
  expect(whole.info.formats[0]).toBe("F32");
  expect(whole.info.warnings).toEqual([]);
  expect(await whole.complete("one", options)).toBe(await (await load(F32)).complete("one", options));
  const quantized = await load("hf:tiny/safetensors", { endpoint, quantize: "Q8_0" });
  expect(quantized.info.formats[0]).toBe("Q8_0");
  const onGpu = async (how: LoadOptions) => {
    const model = await load("hf:tiny/safetensors", { endpoint, backend: "gpu", ...how });
    return (await model.memory()).gpu;
  };
  expect(await onGpu({ quantize: "Q8_0" })).toBeLessThan(0.5 * (await onGpu({})));
  expect(await quantized.complete("one", options)).toBe(await (await load(Q8)).complete("one", options));
  const steps = await all(quantized.reft(LOREFT).train(EXAMPLES, { epochs: 10, learningRate: 0.01 }));
  expect(steps.at(-1)?.loss).toBeLessThan(steps[0]?.loss ?? 0);
});

test("the files of a repository, dropped as they lie in a folder, are a model", async () => {
  const { endpoint } = hub();
  const url = `${endpoint}/tiny/safetensors/resolve/${COMMIT}/`;
  const names = ["model.safetensors", "config.json", "tokenizer.json"];
  const files = await Promise.all(names.map(async (name) => new File([await fileBytes(new URL(name, url))], name)));
  const model = await load(files, { quantize: "Q4_0" });
  expect(model.info.formats).toEqual(["Q8_0", "Q4_0"]); // the tables of tokens keep eight bits
  expect(await model.complete("one", GREEDY)).toBeTypeOf("string");
  const without = files.filter(({ name }) => name !== "tokenizer.json");
  expect(await failure(WebReft.load(without))).toMatchObject({ kind: "file", message: "tokenizer.json: missing" });
  const absurd = await failure(WebReft.load(files, { quantize: "Q9_9" as "Q8_0" }));
  expect(absurd).toMatchObject({ kind: "input", message: expect.stringContaining("Q9_9") });
});

test("there is room, and it is told how much", async () => {
  const { endpoint } = hub("slow");
  expect(await WebReft.models.room()).toMatchObject({ needed: 0, persisted: expect.any(Boolean) });
  await leave(REPOSITORY, { endpoint }, 60_000);
  const [left] = await WebReft.models.list();
  const room = await WebReft.models.room();
  expect(room.free).toBeGreaterThan(0);
  expect(room.needed).toBe((left?.bytes ?? 0) - (left?.stored ?? 0));
});
