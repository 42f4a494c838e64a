/** Files as the worker reads them, against a real HTTP server that misbehaves in the ways servers do. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Network } from "../src/network.js";
import { blobReader, headerReader, remoteReader } from "../src/reader.js";
import { close, listen } from "./hub.js";

const SIZE = 10_000_000;
const FILE = Uint8Array.from({ length: SIZE }, (_, i) => (i * 31 + (i >> 8)) & 255);
FILE.set(new TextEncoder().encode("GGUF"));
let requests = 0;
/** Requests by path. */
const asked = new Map<string, number>();

/** The first part of the path says how the server behaves. */
const server = createServer((request: IncomingMessage, response: ServerResponse) => {
  requests += 1;
  const nth = (asked.get(request.url ?? "") ?? 0) + 1;
  asked.set(request.url ?? "", nth);
  const range = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? "");
  const [start, end] = range ? [Number(range[1]), Math.min(Number(range[2]) + 1, SIZE)] : [0, SIZE];
  switch (request.url) {
    case "/ranges":
      response.writeHead(206, { "Content-Range": `bytes ${start}-${end - 1}/${SIZE}` });
      response.end(FILE.subarray(start, end));
      break;
    case "/hidden-length":
      if (request.method === "HEAD") response.writeHead(200, { "Content-Length": SIZE }).end();
      else response.writeHead(206).end(FILE.subarray(start, end));
      break;
    case "/whole":
      response.writeHead(200, { "Content-Length": SIZE }).end(FILE);
      break;
    case "/short":
      response.writeHead(206, { "Content-Range": `bytes ${start}-${end - 1}/${SIZE}` });
      response.end(FILE.subarray(start, Math.min(end, 6_000_000)));
      break;
    case "/elsewhere":
      response.writeHead(206, { "Content-Range": `bytes 7-${end - 1}/${SIZE}` }).end(FILE.subarray(7, end));
      break;
    case "/flaky": // each second request fails, in one of several ways
      if (nth % 2 === 1) misbehave(response, Math.floor(nth / 2) % (request.method === "HEAD" ? 2 : 4));
      else if (request.method === "HEAD") response.writeHead(200, { "Content-Length": SIZE, ETag: '"1"' }).end();
      else response.writeHead(206, { ETag: '"1"' }).end(FILE.subarray(start, end));
      break;
    case "/flaky-whole":
      response.writeHead(200, { "Content-Length": SIZE, ETag: '"1"' });
      if (nth % 2 === 1) response.write(FILE.subarray(0, 4_000_000), () => setTimeout(() => response.destroy(), 20));
      else response.end(FILE);
      break;
    case "/changing": // a new version with each request
    case "/growing":
      response.writeHead(206, {
        "Content-Range": `bytes ${start}-${end - 1}/${SIZE + (request.url === "/growing" ? requests : 0)}`,
        ...(request.url === "/changing" && { ETag: `"${requests}"` }),
      });
      response.end(FILE.subarray(start, end));
      break;
    case "/changing-whole":
      response.writeHead(200, { "Content-Length": SIZE, ETag: `"${requests}"` });
      response.write(FILE.subarray(0, 4_000_000), () => setTimeout(() => response.destroy(), 20));
      break;
    case "/page":
      response.writeHead(200, { "Content-Length": 1000 }).end(`<!DOCTYPE html>${"x".repeat(985)}`);
      break;
    case "/nameless":
      response.write(FILE.subarray(0, 1000));
      response.end(FILE.subarray(1000));
      break;
    case "/slow":
      response.writeHead(200, { "Content-Length": SIZE }).write(FILE.subarray(0, 1000));
      break;
    default:
      response.writeHead(404).end();
  }
});

/** Drops, refuses, sends less, sends other bytes. */
function misbehave(response: ServerResponse, how: number) {
  if (how === 0) response.destroy();
  else if (how === 1) response.writeHead(503).end();
  else if (how === 2) response.writeHead(206, { "Content-Range": `bytes 0-99/${SIZE}`, ETag: '"1"' }).end("GGUF");
  else response.writeHead(206, { "Content-Range": `bytes 7-106/${SIZE}` }).end(FILE.subarray(7, 107));
}

let host = "";
beforeAll(async () => {
  host = await listen(server);
});
afterAll(() => close(server));

const ignore = () => {};
const network = (signal = new AbortController().signal, token?: string) =>
  new Network({ endpoint: "https://hub.example", ...(token && { token }) }, signal, {
    silence: 3000,
    waits: [10, 20, 40, 80],
  });
const at = (path: string) => ({ name: "model.gguf", url: host + path });

test.each(["/ranges", "/hidden-length", "/whole", "/flaky", "/flaky-whole"])(
  "%s gives the bytes that were asked for",
  async (path) => {
    const file = await remoteReader(at(path), network(), ignore);
    expect(file.length).toBe(SIZE);
    for (const [offset, length] of [
      [0, 8],
      [4_194_300, 10],
      [9_999_990, 10],
      [5, 5_000_000],
      [SIZE, 0],
    ] as const) {
      const bytes = await file.read(offset, length);
      expect(Buffer.compare(bytes, FILE.subarray(offset, offset + length))).toBe(0);
    }
  },
);

test("neighbouring small reads cost one request", async () => {
  const file = await remoteReader(at("/ranges"), network(), ignore);
  const before = requests;
  for (let offset = 0; offset < 4000; offset += 8) await file.read(offset, 8);
  expect(requests).toBe(before);
});

test.each(["/changing", "/growing"])("%s: ranges of two versions are not mixed", async (path) => {
  const file = await remoteReader(at(path), network(), ignore);
  const reading = file.read(5_000_000, 1000);
  await expect(reading).rejects.toMatchObject({ kind: "file", retryable: true });
  await expect(reading).rejects.toThrow("has changed while it was read; load again");
});

test("a header that drops is not gone on with from another version", async () => {
  const file = await headerReader(at("/changing-whole"), network());
  expect((await file.read(3_000_000, 1000)).length).toBe(1000);
  await expect(file.read(5_000_000, 1000)).rejects.toThrow("has changed while it was read; load again");
});

test("a server without ranges that always drops is given up before it has sent more than twice the file", async () => {
  let loaded = 0;
  const count = (now: number) => {
    loaded = now;
  };
  await expect(remoteReader(at("/changing-whole"), network(), count)).rejects.toMatchObject({ retryable: true });
  expect(loaded).toBe(4_000_000);
});

test("a web page in place of a model is told to be one", async () => {
  for (const open of [() => remoteReader(at("/page"), network(), ignore), () => headerReader(at("/page"), network())]) {
    const opening = open();
    await expect(opening).rejects.toMatchObject({ kind: "file", retryable: true });
    await expect(opening).rejects.toThrow("expected a GGUF file, got a web page");
  }
});

test("a download without ranges tells its progress", async () => {
  let last = { loaded: 0, total: 0 };
  await remoteReader(at("/whole"), network(), (loaded, total) => {
    expect(loaded).toBeGreaterThan(last.loaded);
    last = { loaded, total };
  });
  expect(last).toEqual({ loaded: SIZE, total: SIZE });
});

test("a file that is not there is a file error with the status", async () => {
  const opening = remoteReader(at("/nothing"), network(), ignore);
  await expect(opening).rejects.toMatchObject({ kind: "file", retryable: false });
  await expect(opening).rejects.toThrow("HTTP 404 Not Found");
});

test("a server that cannot be reached is a file error that may pass", async () => {
  const opening = remoteReader({ name: "a", url: "http://127.0.0.1:9/" }, network(), ignore);
  await expect(opening).rejects.toMatchObject({ kind: "file", retryable: true });
});

test("an answer cut off in the middle is a file error that may pass", async () => {
  const file = await remoteReader(at("/short"), network(), ignore);
  await expect(file.read(5_000_000, 2_000_000)).rejects.toMatchObject({ kind: "file", retryable: true });
});

test("reading past the end names the numbers", async () => {
  const file = blobReader("a.gguf", new Blob([new Uint8Array(10)]), new AbortController().signal);
  await expect(file.read(8, 3)).rejects.toThrow("the file is cut off: expected 3 bytes at 8, it has 10");
});

test("an abort in the middle of a download ends it with the abort's reason", async () => {
  const controller = new AbortController();
  const end = () => controller.abort(new Error("enough"));
  const opening = remoteReader(at("/slow"), network(controller.signal), end);
  await expect(opening).rejects.toThrow("enough");
});

test("a range that begins elsewhere is a file error that says where", async () => {
  await expect(remoteReader(at("/elsewhere"), network(), ignore)).rejects.toThrow(
    "expected bytes from 0, the server sent those from 7",
  );
});

test("a file whose length nobody says can be fetched whole, and not inspected", async () => {
  expect((await remoteReader(at("/nameless"), network(), ignore)).length).toBe(SIZE);
  await expect(headerReader(at("/nameless"), network())).rejects.toThrow("does not say how long the file is");
});

test.each(["/ranges", "/whole", "/flaky", "/flaky-whole"])("a header is read from %s, back and forth", async (path) => {
  const file = await headerReader(at(path), network());
  expect(file.length).toBe(SIZE);
  for (const [offset, length] of [
    [0, 8],
    [100_000, 3_000],
    [8, 16],
  ] as const) {
    expect(Buffer.compare(await file.read(offset, length), FILE.subarray(offset, offset + length))).toBe(0);
  }
});

test("the token goes to the endpoint, and to no other server", async () => {
  const seen: (string | undefined)[] = [];
  const other = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.end();
  });
  const address = await listen(other);
  await network(undefined, "secret").get(address);
  await new Network({ endpoint: `${address}/hub`, token: "secret" }, new AbortController().signal).get(`${address}/a`);
  close(other);
  expect(seen).toEqual([undefined, "Bearer secret"]);
});
