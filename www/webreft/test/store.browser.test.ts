/** Durable storage, and a training that goes on from it. */
import { afterEach, expect, test, vi } from "vitest";
import { Store } from "webreft";
import { all, EXAMPLES, failure, LOREFT, load } from "./fixtures.js";

const NAME = "webreft-test";

afterEach(async () => {
  vi.restoreAllMocks();
  const root = await navigator.storage.getDirectory();
  await root.removeEntry(NAME, { recursive: true }).catch(() => {});
});

test("files are written, listed, read, replaced and removed", async () => {
  const store = await Store.open(NAME);
  expect(await store.list()).toEqual([]);
  expect(await store.read("b")).toBeUndefined();
  await store.write("b", new Uint8Array([1, 2, 3]));
  await store.write("a", new Blob(["long before"]));
  await store.write("a", new Blob(["short"]));
  expect(await store.list()).toEqual(["a", "b"]);
  expect(await (await Store.open(NAME)).read("b")).toEqual(new Uint8Array([1, 2, 3]));
  expect(new TextDecoder().decode(await store.read("a"))).toBe("short");
  await store.remove("a");
  await store.remove("a");
  expect(await store.list()).toEqual(["b"]);
});

test("a browser without such storage says so", async () => {
  vi.spyOn(navigator.storage, "getDirectory").mockRejectedValue(new DOMException("not here", "SecurityError"));
  const error = await failure(Store.open(NAME));
  expect(error).toMatchObject({ kind: "unsupported", message: expect.stringContaining("not here") });
});

test("a name that cannot be is an error of this package", async () => {
  const store = await Store.open(NAME);
  expect(await failure(store.write("a/b", new Uint8Array(1)))).toMatchObject({ kind: "input", retryable: false });
});

test("a file that is read while pages write it is the old one or the new one", async () => {
  const store = await Store.open(NAME);
  await store.write("a", new Uint8Array(50_000).fill(1));
  const writers = [2, 3].map((byte) => {
    const worker = new Worker(new URL("./workers/writes.ts", import.meta.url), { type: "module" });
    worker.postMessage({ folder: NAME, name: "a", byte, times: 60 });
    return new Promise<void>((resolve, reject) => {
      worker.onmessage = () => resolve();
      worker.onerror = ({ message }) => reject(new Error(message));
    }).finally(() => worker.terminate());
  });
  let writing = true;
  const written = Promise.all(writers).finally(() => {
    writing = false;
  });
  const seen = new Set<number | undefined>();
  while (writing) {
    const bytes = await store.read("a");
    expect(bytes?.length).toBe(50_000);
    expect(new Set(bytes).size).toBe(1);
    seen.add(bytes?.[0]);
  }
  await written;
  expect(seen.size).toBeGreaterThan(1);
});

test("writes that nobody waits for end with the last one, also through other stores", async () => {
  const stores = [await Store.open(NAME), await Store.open(NAME)];
  const bytes = new Uint8Array(20_000);
  const writes = Array.from({ length: 30 }, (_, i) => {
    bytes.fill(i + 1); // what was given is written, not what it becomes
    return stores[i % 2]?.write("a", bytes);
  });
  expect(await stores[0]?.read("a")).toEqual(new Uint8Array(20_000).fill(30));
  await Promise.all(writes);
  expect(await stores[1]?.read("a")).toEqual(new Uint8Array(20_000).fill(30));
});

test("a list has no swap files, and those that a closed page left are removed while nobody writes", async () => {
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle(NAME, { create: true });
  await folder.getFileHandle("a.crswap", { create: true });
  const names = async () => {
    const names: string[] = [];
    for await (const name of folder.keys()) names.push(name);
    return names.sort();
  };
  let end = () => {};
  const held = new Promise<void>((resolve) => {
    end = resolve;
  });
  // As a page that is writing holds it.
  const writing = navigator.locks.request(`webreft-store ${NAME}`, () => held);
  await Store.open(NAME);
  expect(await names()).toEqual(["a.crswap"]);
  end();
  await writing;
  const store = await Store.open(NAME);
  expect(await names()).toEqual([]);
  const write = store.write("b", new Uint8Array(1_000_000));
  expect(await store.list()).toEqual(["b"]);
  await write;
  await folder.getFileHandle("b.1.crswap", { create: true });
  expect(await store.list()).toEqual(["b"]);
  expect(await failure(store.write("c.crswap", new Uint8Array(1)))).toMatchObject({ kind: "input" });
});

test("a write that finds no room says what is needed and free, leaves the old file, and no swap file", async () => {
  const store = await Store.open(NAME);
  await store.write("a", new Uint8Array([1, 2, 3]));
  const { write } = FileSystemWritableFileStream.prototype;
  vi.spyOn(FileSystemWritableFileStream.prototype, "write").mockRejectedValue(
    new DOMException("no room", "QuotaExceededError"),
  );
  vi.spyOn(navigator.storage, "estimate").mockResolvedValue({ usage: 99_000_000, quota: 100_000_000 });
  for (const name of ["a", "new"]) {
    const error = await failure(store.write(name, new Uint8Array(2_000_000)));
    expect(error).toMatchObject({ kind: "file", retryable: true });
    expect(error.message).toContain("2.0 MB are needed, 1.0 MB are free");
  }
  FileSystemWritableFileStream.prototype.write = write;
  expect(await store.list()).toEqual(["a"]);
  expect(await store.read("a")).toEqual(new Uint8Array([1, 2, 3]));
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle(NAME);
  for await (const name of folder.keys()) expect(name).toBe("a");
});

test("a training that was stored goes on with another copy of the model", async () => {
  const options = { epochs: 5, batchSize: 2, learningRate: 1e-2 };
  const first = await load();
  const whole = (await all(first.reft(LOREFT).train(EXAMPLES, options))).map(({ loss }) => loss);
  const store = await Store.open(NAME);
  const written: Promise<void>[] = [];
  const onCheckpoint = (bytes: Uint8Array<ArrayBuffer>) => written.push(store.write("training", bytes));
  for await (const { epoch } of first.reft(LOREFT).train(EXAMPLES, { ...options, onCheckpoint })) if (epoch > 2) break;
  await Promise.all(written);
  await first.dispose();

  const second = await load();
  const bytes = await store.read("training");
  if (!bytes) throw new Error("nothing was stored");
  const { steps } = await second.resume(bytes, EXAMPLES);
  const rest = (await all(steps)).map(({ loss }) => loss);
  // The loop was left after the first step of the third epoch.
  expect(rest.length).toBe(5);
  expect(rest).toEqual(whole.slice(-5));
});
