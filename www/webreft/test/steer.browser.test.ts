/** Steering vectors, control vectors and hidden states in a real browser, on the CPU. */
import { expect, test } from "vitest";
import vector from "../../../tests/cases/steering/control_vector.gguf?url";
import { failure, fileBytes, shared } from "./fixtures.js";

const PAIRS = [
  { positive: "the cat sat", negative: "a dog ran away" },
  { positive: "one house", negative: "some cats" },
];

test("hidden states are typed arrays of the tokens that are asked for", async () => {
  const model = await shared();
  const [whole, last] = await model.hiddenStates("the cat sat", [
    { layers: [2] },
    { layers: [2], component: "head_query_output", heads: [1], positions: "-1" },
  ]);
  expect(whole).toMatchObject({ layer: 2, component: "block_output", shape: [whole?.positions.length, 64] });
  expect(whole?.values).toBeInstanceOf(Float32Array);
  expect(whole?.values.length).toBe(64 * (whole?.positions.length ?? 0));
  expect(whole).not.toHaveProperty("head");
  expect(last).toMatchObject({ layer: 2, component: "query_output", head: 1, positions: [whole?.positions.at(-1)] });
  expect(await model.hiddenStates("the cat sat")).toHaveLength(model.info.nLayer);
});

test("a steering vector is the difference of hidden states, and changes an answer by its strength", async () => {
  const model = await shared();
  const vectors = await model.steer(PAIRS, { layers: [1, 2] });
  expect(vectors.configs).toMatchObject([{ kind: "steering_vector", layers: [1, 2], positions: "all" }]);
  const answer = (strength: number) => model.complete("four and", { reft: { reft: vectors, strength }, maxTokens: 8 });
  const bare = await model.complete("four and", { maxTokens: 8 });
  expect(await answer(0)).toBe(bare);
  expect(await answer(50)).not.toBe(await answer(-50));
  const again = await model.loadReft(await vectors.save());
  expect(await model.complete("four and", { reft: again, maxTokens: 8 })).toBe(await answer(1));
});

test("a control vector of llama.cpp loads and is written again with the same numbers", async () => {
  const model = await shared();
  const bytes = await fileBytes(new URL(vector, import.meta.url));
  const reft = await model.importReft(bytes);
  expect(reft.configs).toMatchObject([{ kind: "steering_vector", layers: [1, 2] }]);
  const written = await reft.export("llama.cpp");
  expect(new TextDecoder().decode(written.slice(0, 4))).toBe("GGUF");
  const again = await model.importReft(written);
  expect(await again.save()).toEqual(await reft.save());
});

test("what cannot be steered is refused with the pair, the side and the reason", async () => {
  const model = await shared();
  const same = { positive: "the cat", negative: "the cat" };
  expect(await failure(model.steer([same]))).toMatchObject({
    kind: "input",
    message: expect.stringMatching(/expected pairs that differ/),
  });
  expect(await failure(model.steer(PAIRS, { read: "90" }))).toMatchObject({
    kind: "input",
    message: expect.stringMatching(/pair 1: positive: positions "90".*\n(.*\n)*pair 2: negative/),
  });
  expect(await failure(model.steer(PAIRS, { method: "umap" as "pca" }))).toMatchObject({ kind: "input" });
  const ended = model.steer(PAIRS, { signal: AbortSignal.abort("enough") });
  expect(await failure(ended)).toMatchObject({ kind: "aborted" });
});
