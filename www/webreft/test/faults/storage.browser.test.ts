/** Each call of the browser's storage and each request fails once, while a model is stored or read: nothing wrong is kept, and nothing waits for ever. */
import { afterAll, expect, inject, test } from "vitest";
import wasm from "webreft/wasm?url";
import type { Mode } from "./failing.js";
import type { Outcome, Start, Task } from "./storage.worker.js";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const endpoint = `${inject("hub")}/plain/faults-${performance.timeOrigin}`;
const SOURCES = {
  "a file with a hash": "hf:tiny/gguf:Q8_0",
  "a file without one": `${endpoint}/tiny/gguf/resolve/${COMMIT}/tiny-Q4_0.gguf`,
  "several files": "hf:tiny/safetensors",
};

let points = 0;
afterAll(() => console.info(`${points} points: each failed once, and the next load was right`));

function run(task: Task): Promise<Outcome> {
  const worker = new Worker(new URL("./storage.worker.ts", import.meta.url), { type: "module" });
  return new Promise<Outcome>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<Outcome | string>) => {
      if (typeof data === "string") reject(new Error(data));
      else resolve(data);
    };
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(task);
  }).finally(() => worker.terminate());
}

const CASES: [keyof typeof SOURCES, Start, Mode, string[]][] = [
  [
    "a file with a hash",
    "nothing",
    "error",
    ["createSyncAccessHandle", "createWritable", "fetch", "flush", "write in place"],
  ],
  [
    "a file with a hash",
    "nothing",
    "quota",
    ["createSyncAccessHandle", "createWritable", "fetch", "flush", "write in place"],
  ],
  ["a file with a hash", "nothing", "short", ["fetch", "write in place"]],
  ["a file with a hash", "nothing", "negative", ["write in place"]],
  ["a file with a hash", "half", "error", ["fetch", "read", "write in place"]],
  ["a file with a hash", "half", "quota", ["fetch", "write in place"]],
  ["a file with a hash", "whole", "error", ["arrayBuffer", "getFile"]],
  ["a file without one", "nothing", "error", ["fetch", "truncate", "write in place"]],
  ["a file without one", "nothing", "quota", ["fetch", "truncate", "write in place"]],
  ["a file without one", "nothing", "short", ["fetch", "write in place"]],
  ["a file without one", "half", "error", ["fetch", "truncate", "write in place"]],
  ["a file without one", "whole", "error", ["arrayBuffer", "getFile"]],
  ["several files", "nothing", "error", ["close", "fetch", "write in place"]],
  ["several files", "half", "short", ["fetch", "write in place"]],
];

test.each(CASES)(
  "%s, of which there is %s: each call fails once (%s)",
  async (source, start, mode, expected) => {
    const outcome = await run({
      wasm: new URL(wasm, location.href).href,
      endpoint,
      source: SOURCES[source],
      start,
      mode,
    });
    expect(outcome.wrong).toEqual([]);
    expect(outcome.names).toEqual(expect.arrayContaining(expected));
    expect(outcome.recovered + outcome.errors).toBe(outcome.points);
    points += outcome.points;
  },
  300_000,
);
