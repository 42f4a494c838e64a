/** Files as the worker reads them, against a real HTTP server that misbehaves in the ways servers do. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { open } from "../src/source.js";

const SIZE = 10_000_000;
const FILE = Uint8Array.from({ length: SIZE }, (_, i) => (i * 31 + (i >> 8)) & 255);
let requests = 0;

/** The first part of the path says how the server behaves. */
const server = createServer((request: IncomingMessage, response: ServerResponse) => {
  requests += 1;
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
    case "/slow":
      response.writeHead(200, { "Content-Length": SIZE }).write(FILE.subarray(0, 1000));
      break;
    default:
      response.writeHead(404).end();
  }
});

let host = "";
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  host = typeof address === "object" ? `http://127.0.0.1:${address?.port}` : "";
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const never = new AbortController().signal;
const ignore = () => {};

test.each(["/ranges", "/hidden-length", "/whole"])("%s gives the bytes that were asked for", async (path) => {
  const file = await open(host + path, never, ignore);
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
});

test("neighbouring small reads cost one request", async () => {
  const file = await open(`${host}/ranges`, never, ignore);
  const before = requests;
  for (let offset = 0; offset < 4000; offset += 8) await file.read(offset, 8);
  expect(requests).toBe(before);
});

test("a download without ranges tells its progress", async () => {
  let last = { loaded: 0, total: 0 };
  await open(`${host}/whole`, never, (loaded, total) => {
    expect(loaded).toBeGreaterThan(last.loaded);
    last = { loaded, total };
  });
  expect(last).toEqual({ loaded: SIZE, total: SIZE });
});

test("a file that is not there is a file error with the status", async () => {
  const opening = open(`${host}/nothing`, never, ignore);
  await expect(opening).rejects.toMatchObject({ kind: "file", retryable: false });
  await expect(opening).rejects.toThrow("HTTP 404 Not Found");
});

test("a server that cannot be reached is a file error that may pass", async () => {
  await expect(open("http://127.0.0.1:9/", never, ignore)).rejects.toMatchObject({ kind: "file", retryable: true });
});

test("an answer cut off in the middle is a file error that may pass", async () => {
  const file = await open(`${host}/short`, never, ignore);
  await expect(file.read(5_000_000, 2_000_000)).rejects.toMatchObject({ kind: "file", retryable: true });
});

test("reading past the end names the numbers", async () => {
  const file = await open(new Blob([new Uint8Array(10)]), never, ignore);
  await expect(file.read(8, 3)).rejects.toThrow("the file is cut off: expected 3 bytes at 8, it has 10");
});

test("an abort in the middle of a download ends it with the abort's reason", async () => {
  const controller = new AbortController();
  const opening = open(`${host}/slow`, controller.signal, () => controller.abort(new Error("enough")));
  await expect(opening).rejects.toThrow("enough");
});
