/** A browser that has WebGPU but no adapter for it: Chromium on a machine without a GPU, unless told otherwise. */
import { expect, test } from "vitest";
import { probe, WebReft } from "webreft";
import { failure, Q8 } from "./fixtures.js";

test("loading says that there is no adapter", async () => {
  const error = await failure(WebReft.load(Q8));
  expect(error).toMatchObject({ kind: "device", retryable: true });
  expect(error.message).toContain("no WebGPU adapter");
});

test("so does asking for the adapter", async () => {
  expect((await failure(probe())).kind).toBe("device");
});
