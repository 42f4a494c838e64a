/** What a reader throws, after it went through the engine. */
import { readFile } from "node:fs/promises";
import { beforeAll, expect, test } from "vitest";
import { WebReftError } from "../src/error.js";
import { initSync, WebEngine } from "../wasm/webreft.js";

beforeAll(async () => {
  initSync({ module: await readFile(new URL("../wasm/webreft_bg.wasm", import.meta.url)) });
});

const inspect = (error: WebReftError) => {
  const read = () => Promise.reject(error);
  return WebEngine.inspect([{ name: "model.gguf", length: 1000, read }], { backend: "cpu" });
};

test.each([
  ["file", true],
  ["file", false],
  ["unsupported", false],
] as const)("an error of kind %s stays one, and retryable %s", async (kind, retryable) => {
  const thrown = await inspect(new WebReftError(kind, "the reader's own", { retryable })).catch((error) => error);
  expect(thrown).toMatchObject({ kind, message: expect.stringContaining("the reader's own") });
  expect(thrown.retryable ?? false).toBe(retryable);
});
