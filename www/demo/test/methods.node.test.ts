import { expect, test } from "vitest";
import type { KindInfo } from "webreft";
import { configOf, methods } from "../src/methods.js";

const PLACED: KindInfo = {
  name: "new_edit",
  equation: "h",
  trained: true,
  readsSource: false,
  virtual: false,
  usualLayers: "all",
  usualComponents: ["key_output", "value_output"],
  usualPositions: "all",
};
const VIRTUAL: KindInfo = { ...PLACED, name: "new_tuning", virtual: true, usualLayers: "first" };

const asked = (kind: KindInfo) => {
  const [method] = methods([kind]);
  return configOf(kind.name, method?.values ?? {}, 7);
};

test("a kind without words here begins with its own places", () => {
  const component = ["key_output", "value_output"];
  expect(asked(PLACED)).toEqual({ kind: "new_edit", layers: "all", component, positions: "all", rank: 4, seed: 7 });
});

test("virtual tokens have no places, and no rank", () => {
  expect(asked(VIRTUAL)).toEqual({ kind: "new_tuning", virtualTokens: 8, seed: 7 });
  for (const name of ["prompt_tuning", "p_tuning", "prefix_tuning"])
    expect(Object.keys(asked({ ...VIRTUAL, name }))).toEqual(["kind", "virtualTokens", "seed"]);
  expect(asked({ ...PLACED, name: "ia3" })).not.toHaveProperty("rank");
});

test("layers are a word or numbers, and places are separated by commas", () => {
  const { layers, component } = configOf("loreft", { layers: " 2, 4", component: "mlp_output,block_output" }, 0);
  expect([layers, component]).toEqual([
    [2, 4],
    ["mlp_output", "block_output"],
  ]);
  expect(configOf("loreft", { layers: "first" }, 0).layers).toBe("first");
});

test("what cannot learn by examples alone is not offered", () => {
  expect(
    methods([
      { ...PLACED, trained: false },
      { ...PLACED, readsSource: true },
    ]),
  ).toEqual([]);
});
