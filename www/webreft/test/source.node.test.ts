/** How what a caller writes as a source is understood. */
import { expect, test } from "vitest";
import { allParts, HUB, nameOf, readSource } from "../src/source.js";

const BASE = "https://page.example/app/";

test.each([
  ["hf:owner/name", { repository: "owner/name" }],
  ["hf:owner/name.v1-GGUF@main", { repository: "owner/name.v1-GGUF", revision: "main" }],
  ["hf:owner/name:q4_k_m", { repository: "owner/name", quantization: "Q4_K_M" }],
  ["hf:owner/name@refs/pr/1:Q8_0", { repository: "owner/name", revision: "refs/pr/1", quantization: "Q8_0" }],
  ["hf:owner/name:folder/a.gguf", { repository: "owner/name", file: "folder/a.gguf" }],
  ["hf:owner/name@v2:a.gguf", { repository: "owner/name", revision: "v2", file: "a.gguf" }],
  ["https://huggingface.co/owner/name", { repository: "owner/name" }],
  ["https://huggingface.co/owner/name/", { repository: "owner/name" }],
  ["https://huggingface.co/owner/name/tree/v2", { repository: "owner/name", revision: "v2" }],
  [
    "https://huggingface.co/owner/name/blob/main/f/a.gguf",
    { repository: "owner/name", revision: "main", file: "f/a.gguf" },
  ],
  [
    "https://huggingface.co/owner/name/resolve/refs%2Fpr%2F1/a.gguf?download=true",
    { repository: "owner/name", revision: "refs/pr/1", file: "a.gguf" },
  ],
])("%s is a repository on the Hub", (source, expected) => {
  expect(readSource(source, BASE)).toEqual({ kind: "hub", ...expected });
});

test.each([
  ["model.gguf", `${BASE}model.gguf`],
  ["/model.gguf", "https://page.example/model.gguf"],
  [new URL("https://other.example/a.gguf"), "https://other.example/a.gguf"],
  ["https://other.example/owner/name", "https://other.example/owner/name"],
])("%s is an address", (source, url) => {
  expect(readSource(source, BASE)).toEqual({ kind: "url", url });
});

test("the visitor's own files keep their names, bytes get one", () => {
  const file = new File(["a"], "a.gguf");
  expect(readSource([file, new File(["b"], "b.gguf")], BASE)).toMatchObject({
    kind: "files",
    files: [{ name: "a.gguf" }, { name: "b.gguf" }],
  });
  expect(readSource(file, BASE)).toMatchObject({ files: [{ name: "a.gguf" }] });
  for (const source of [new Blob(["a"]), new Uint8Array(3), new ArrayBuffer(3)]) {
    expect(readSource(source, BASE)).toMatchObject({ kind: "files", files: [{ name: "model.gguf" }] });
  }
});

test.each([
  ["hf:", "hf:owner/name"],
  ["hf:owner", "hf:owner/name"],
  ["hf:owner/name/model.gguf", "hf:owner/name"],
  ["hf:owner/name:", "hf:owner/name"],
  ["https://", "an address"],
  ["https://huggingface.co/owner/name/blob/main/%E0%A4%A.gguf", "an address"],
])("%s is refused, and what is expected is named", (source, expected) => {
  expect(() => readSource(source, BASE)).toThrow(expect.objectContaining({ kind: "input" }));
  expect(() => readSource(source, BASE)).toThrow(expected);
});

test("a list without files, a repository without an owner, and two choices at once are refused", () => {
  for (const source of [[], { repository: "name" }, { repository: "a/b", file: "a.gguf", quantization: "Q8_0" }]) {
    expect(() => readSource(source, BASE)).toThrow(expect.objectContaining({ kind: "input" }));
  }
});

test("a part names all the others", () => {
  expect(allParts("f/a-00002-of-00003.gguf")).toEqual([1, 2, 3].map((n) => `f/a-0000${n}-of-00003.gguf`));
  expect(allParts("a-2-of-3.gguf")).toEqual(["a-2-of-3.gguf"]);
  expect(() => allParts("a-00001-of-99999.gguf")).toThrow("expected 1 to 1000 parts, got 99999");
});

test("the same source has the same name, however it was written", () => {
  const name = (source: string, hub = HUB) => {
    const request = readSource(source, BASE, hub);
    return request.kind === "files" ? "" : nameOf(request, hub);
  };
  expect(name("hf:a/b:q8_0")).toBe("hf:a/b@main:Q8_0");
  expect(name("https://huggingface.co/a/b/blob/main/c.gguf")).toBe(name("hf:a/b:c.gguf"));
  expect(name("hf:a/b", "http://localhost:1/")).toBe("http://localhost:1/a/b@main");
  expect(name("c.gguf")).toBe(`${BASE}c.gguf`);
});
