import { expect, test } from "vitest";
import { probe } from "webreft";

test("the adapter is found through wgpu, in a worker", async () => {
  const adapter = await probe();
  expect(adapter.maxBufferSize).toBeGreaterThanOrEqual(1 << 28);
});
