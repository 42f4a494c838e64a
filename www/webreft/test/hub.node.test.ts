/** Repositories on the Hub: what they hold, which of it is chosen, and what is said when that does not work. */
import { createServer } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type HubFile, pick } from "../src/hub.js";
import { Network } from "../src/network.js";
import { findModel } from "../src/remote.js";
import { type HubSource, readSource, type SourceRequest } from "../src/source.js";
import { type Behaviour, COMMIT, close, listen, serveHub, TOKEN } from "./hub.js";

const file = (path: string): HubFile => ({ path, size: 1_000_000 });
const names = (source: Partial<HubSource>, paths: string[]) =>
  pick({ repository: "owner/name", ...source }, paths.map(file)).map(({ path }) => path);

const MANY = [
  "README.md",
  "imatrix.gguf",
  "mmproj-F16.gguf",
  "a.Q8_0.gguf",
  "a-Q4_K_S.gguf",
  "a-IQ4_NL.gguf",
  "b/a-q4_k_m.gguf",
];
const SAFETENSORS = ["config.json", "tokenizer.json", "model.safetensors", "onnx/model.onnx", "original/params.json"];

test.each<[Partial<HubSource>, string[], string[]]>([
  [{}, MANY, ["b/a-q4_k_m.gguf"]],
  [{ quantization: "Q8_0" }, MANY, ["a.Q8_0.gguf"]],
  [{ quantization: "IQ4_NL" }, MANY, ["a-IQ4_NL.gguf"]],
  [{ file: "a-Q4_K_S.gguf" }, MANY, ["a-Q4_K_S.gguf"]],
  [{ file: "a-q4_k_m.gguf" }, MANY, ["b/a-q4_k_m.gguf"]],
  [{}, ["model.gguf"], ["model.gguf"]],
  [{}, ["gemma-3-270m-it-F16.gguf", "x-BF16.gguf"], ["x-BF16.gguf"]],
  [{}, ["UD/a-UD-Q4_K_XL.gguf", "a-Q8_0.gguf"], ["UD/a-UD-Q4_K_XL.gguf"]],
  [{}, SAFETENSORS, ["config.json", "tokenizer.json", "model.safetensors"]],
  [{}, [...SAFETENSORS, "a-Q8_0.gguf"], ["a-Q8_0.gguf"]],
  [
    { file: "model.safetensors" },
    [...SAFETENSORS, "a-Q8_0.gguf"],
    ["config.json", "tokenizer.json", "model.safetensors"],
  ],
  [
    { quantization: "Q8_0" },
    ["f/a-Q8_0-00002-of-00002.gguf", "f/a-Q8_0-00001-of-00002.gguf", "a-Q4_0-00001-of-00002.gguf"],
    ["f/a-Q8_0-00001-of-00002.gguf", "f/a-Q8_0-00002-of-00002.gguf"],
  ],
])("%j of %j", (source, paths, expected) => {
  expect(names(source, paths)).toEqual(expected);
});

test.each<[Partial<HubSource>, string[], string]>([
  [
    { quantization: "Q2_K" },
    MANY,
    "hf:owner/name: no Q2_K; there are: Q8_0 (a.Q8_0.gguf, 1 MB), Q4_K_S (a-Q4_K_S.gguf, 1 MB), ",
  ],
  [{ file: "c.gguf" }, MANY, "no model's file c.gguf; there are: Q8_0"],
  [
    {},
    ["a-Q8_0.gguf", "b-Q8_0.gguf"],
    "several files are Q8_0: name the one that is meant; there are: Q8_0 (a-Q8_0.gguf",
  ],
  [{}, ["a-Q8_0-00001-of-00002.gguf"], "no GGUF file and no safetensors with config.json"],
  [{}, ["model.safetensors", "pytorch_model.bin"], "no GGUF file and no safetensors with config.json"],
  [{}, [], "no model to choose; it has no GGUF file"],
])("%j of %j is refused, and what there is is listed", (source, paths, message) => {
  expect(() => names(source, paths)).toThrow(
    expect.objectContaining({ kind: "input", message: expect.stringContaining(message) }),
  );
});

let hub: Awaited<ReturnType<typeof serveHub>>;
beforeAll(async () => {
  hub = await serveHub({
    "owner/name": {
      "a b-Q8_0.gguf": new Uint8Array(20_000),
      "README.md": new Uint8Array(10),
      "x.Q4_0.gguf": new Uint8Array(5),
    },
  });
});
afterAll(() => hub.close());

function find(source: string, behaviour: Behaviour = "plain", token?: string) {
  const network = new Network(
    { endpoint: `${hub.address}/${behaviour}/s/`, ...(token && { token }) },
    AbortSignal.timeout(60_000),
  );
  return findModel(readSource(source, undefined) as Exclude<SourceRequest, { kind: "files" }>, network);
}

test.each<Behaviour>(["plain", "pages"])(
  "a listing (%s) gives addresses at a commit, sizes and hashes",
  async (behaviour) => {
    const model = await find("hf:owner/name@refs/pr/1:Q8_0", behaviour);
    const url = `${hub.address}/${behaviour}/s/owner/name/resolve/${COMMIT}/a%20b-Q8_0.gguf`;
    const sha256 = expect.stringMatching(/^[0-9a-f]{64}$/);
    expect(model).toEqual({
      id: url,
      revision: COMMIT,
      files: [{ name: "a b-Q8_0.gguf", url, bytes: 20_000, sha256 }],
    });
  },
);

test("a gated repository opens with the token, and says what to do without it", async () => {
  await expect(find("hf:owner/name", "gated")).rejects.toMatchObject({ kind: "file", retryable: false });
  await expect(find("hf:owner/name", "gated")).rejects.toThrow(
    /HTTP 401.*accept its terms at .*owner\/name and pass a token/,
  );
  expect((await find("hf:owner/name", "gated", TOKEN)).files).toHaveLength(1);
});

test("a repository or a revision that is not there is named", async () => {
  await expect(find("hf:owner/other")).rejects.toThrow(
    "hf:owner/other: no such repository, or it has no revision main",
  );
  await expect(find("hf:owner/name@v3")).rejects.toThrow("or it has no revision v3");
});

/** What is found in a folder of a server that fails each file's first requests so often, in turns by silence, a cut and a status. */
async function findFlaky(failures: number) {
  const there = ["config.json", "tokenizer.json", "model.safetensors.index.json"];
  const asked = new Map<string, number>();
  const server = createServer((request, response) => {
    const name = request.url?.slice(1) ?? "";
    const times = asked.get(name) ?? 0;
    asked.set(name, times + 1);
    if (times < failures && times % 3 === 0) return; // silence
    if (times < failures && times % 3 === 1) response.destroy();
    else if (times < failures) response.writeHead(503).end();
    else if (!there.includes(name)) response.writeHead(200, { "Content-Type": "text/html" }).end("<!DOCTYPE html>");
    else response.end(JSON.stringify({ weight_map: { a: "model-1.safetensors", b: "model-2.safetensors" } }));
  });
  const patience = { silence: 200, waits: [1, 2, 4, 8] };
  const network = new Network({ endpoint: hub.address }, AbortSignal.timeout(60_000), patience);
  try {
    const { files } = await findModel({ kind: "url", url: `${await listen(server)}/config.json` }, network);
    return files.map(({ name }) => name);
  } finally {
    close(server);
  }
}

test("a folder's files are found though each request fails at first, and a page is no file", async () => {
  const found = await findFlaky(4);
  expect(found).toEqual([
    "config.json",
    "tokenizer.json",
    "model.safetensors.index.json",
    "model-1.safetensors",
    "model-2.safetensors",
  ]);
});

test("a folder whose server does not say what it has is not taken for one without a tokenizer", async () => {
  await expect(findFlaky(Number.POSITIVE_INFINITY)).rejects.toMatchObject({ kind: "file", retryable: true });
});
