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
