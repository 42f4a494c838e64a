import { expect, test } from "vitest";
import type { Machine } from "webreft";
import { backendIn, computesOn, meaning } from "../src/machine.js";
import { isSensibleOnCpu, OFFERS } from "../src/models.js";

const ADAPTER = { name: "a card", software: false, maxBufferSize: 1, maxBindingSize: 1, features: [] };
const WITH_GPU: Machine = { backend: "gpu", adapter: ADAPTER };
const WITHOUT: Machine = { backend: "cpu", reason: "this browser has no WebGPU" };

test("the address chooses, and what is no backend is refused", () => {
  expect(["", "?backend=auto", "?backend=gpu", "?a=b&backend=cpu"].map(backendIn)).toEqual([
    "auto",
    "auto",
    "gpu",
    "cpu",
  ]);
  expect(() => backendIn("?backend=tpu")).toThrow("?backend=tpu: expected auto, gpu, cpu");
  expect(() => backendIn("?backend=toString")).toThrow("expected auto, gpu, cpu");
});

test("who computes follows the browser unless somebody is asked for", () => {
  expect(computesOn("auto", undefined)).toBeUndefined();
  expect(computesOn("auto", WITH_GPU)).toBe("gpu");
  expect(computesOn("auto", WITHOUT)).toBe("cpu");
  expect(computesOn("cpu", WITH_GPU)).toBe("cpu");
});

test("the line says who computes, and on the CPU which models are sensible", () => {
  expect(meaning("auto", WITH_GPU)).toBe("The GPU computes: a card.");
  expect(meaning("auto", WITHOUT)).toMatch(/no GPU, so the CPU computes.*0\.5B/);
  expect(meaning("cpu", WITH_GPU)).toMatch(/^As you chose.*0\.5B/);
  expect(meaning("gpu", WITHOUT)).toMatch(/choose Automatic or CPU/);
  const software = { ...ADAPTER, software: true };
  expect(meaning("gpu", { ...WITHOUT, adapter: software })).toContain("slower than the CPU");
});

test("models up to about half a billion weights are sensible on a CPU", () => {
  const sensible = OFFERS.filter(isSensibleOnCpu).map(({ name }) => name);
  expect(sensible).toEqual(["SmolLM2 135M Instruct", "SmolLM2 360M Instruct", "Gemma 3 270M", "Qwen2.5 0.5B Instruct"]);
});
