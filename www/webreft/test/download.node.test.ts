/** Downloads that are gone on with, against servers that drop, lie and change their minds. */
import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { afterEach, expect, test } from "vitest";
import { download } from "../src/download.js";
import { Network } from "../src/network.js";
import type { RemoteFile } from "../src/remote.js";
import { close, listen } from "./hub.js";

const FILE = new Uint8Array(randomBytes(1_000_000));
const SHA256 = createHash("sha256").update(FILE).digest("hex");

/** A file in memory in place of one on disk. */
function memory(bytes = new Uint8Array()) {
  let held = bytes;
  return {
    bytes: () => held,
    getSize: () => held.length,
    read: (into: Uint8Array, { at }: { at: number }) => {
      const piece = held.subarray(at, at + into.length);
      into.set(piece);
      return piece.length;
    },
    write: (piece: Uint8Array, { at }: { at: number }) => {
      const grown = new Uint8Array(Math.max(held.length, at + piece.length));
      grown.set(held);
      grown.set(piece, at);
      held = grown;
      return piece.length;
    },
    truncate: (size: number) => {
      held = held.slice(0, size);
    },
    flush: () => {},
    close: () => {},
  };
}

const servers: ReturnType<typeof createServer>[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) close(server);
});

async function serve(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  return listen(server);
}

const startOf = (request: IncomingMessage) => Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);

/** Answers with the rest of a file, cut off after so many bytes. */
function send(
  request: IncomingMessage,
  response: ServerResponse,
  { file = FILE, version = '"1"', cut = Number.POSITIVE_INFINITY } = {},
) {
  const start = startOf(request);
  const rest = file.subarray(start);
  const range = `bytes ${start}-${file.length - 1}/${file.length}`;
  response.writeHead(206, { ETag: version, "Content-Range": range, "Content-Length": rest.length });
  if (rest.length <= cut) response.end(rest);
  else response.write(rest.subarray(0, cut), () => setTimeout(() => response.destroy(), 20));
}

/** Downloads; returns what was asked for by range, and what was told. */
async function fetchInto(
  sink: ReturnType<typeof memory>,
  file: RemoteFile,
  version?: string,
  signal = AbortSignal.timeout(60_000),
) {
  const told: { versions: (string | undefined)[]; bytes: number[] } = { versions: [], bytes: [] };
  const watch = {
    version,
    onVersion: async (version: string | undefined) => {
      told.versions.push(version);
    },
    onBytes: (loaded: number) => told.bytes.push(loaded),
    onVerify: () => {},
  };
  const hash = createHash("sha256");
  const fed = { update: (bytes: Uint8Array) => void hash.update(bytes), finish: () => hash.digest("hex") };
  await download(file, sink, fed, new Network({ endpoint: "https://hub.example" }, signal), watch);
  return told;
}

test("a download that drops goes on where it was, and tells only progress", async () => {
  const starts: number[] = [];
  const url = await serve((request, response) => {
    starts.push(startOf(request));
    send(request, response, { cut: 400_000 });
  });
  const sink = memory();
  const { bytes } = await fetchInto(sink, { name: "a", url, bytes: FILE.length, sha256: SHA256 });
  expect(Buffer.compare(sink.bytes(), FILE)).toBe(0);
  expect(starts).toEqual([0, 400_000, 800_000]);
  expect(bytes).toEqual([...bytes].sort((a, b) => a - b));
});

test("what was left by an earlier page is gone on with while it is the same version", async () => {
  const starts: number[] = [];
  const url = await serve((request, response) => {
    starts.push(startOf(request));
    send(request, response);
  });
  const sink = memory(FILE.slice(0, 300_000));
  await fetchInto(sink, { name: "a", url }, '"1"');
  expect(Buffer.compare(sink.bytes(), FILE)).toBe(0);
  expect(starts).toEqual([300_000]);
});

test("what was left of another version is not", async () => {
  const url = await serve((request, response) => send(request, response, { version: '"2"' }));
  const sink = memory(new Uint8Array(300_000));
  const { versions } = await fetchInto(sink, { name: "a", url }, '"1"');
  expect(Buffer.compare(sink.bytes(), FILE)).toBe(0);
  expect(versions).toEqual(['"2"']);
});

test("where nothing tells versions apart, it begins anew", async () => {
  const url = await serve((_, response) => response.end(FILE));
  const sink = memory(new Uint8Array(300_000));
  await fetchInto(sink, { name: "a", url });
  expect(Buffer.compare(sink.bytes(), FILE)).toBe(0);
});

test("a server without ranges is asked again from the beginning, and given up where it always drops there", async () => {
  let requests = 0;
  const url = await serve((_, response) => {
    requests += 1;
    response.writeHead(200, { "Content-Length": FILE.length, ETag: '"1"' });
    response.write(FILE.subarray(0, 500_000), () => setTimeout(() => response.destroy(), 20));
  });
  const sink = memory();
  await expect(fetchInto(sink, { name: "a", url })).rejects.toMatchObject({ kind: "file", retryable: true });
  expect(sink.getSize()).toBe(500_000);
  expect(requests).toBe(5); // once, and after each of four pauses
}, 30_000);

test("bytes from elsewhere are not taken", async () => {
  let requests = 0;
  const url = await serve((request, response) => {
    requests += 1;
    if (requests > 1) return send(request, response);
    response.writeHead(206, { ETag: '"1"', "Content-Range": `bytes 5-${FILE.length - 1}/${FILE.length}` });
    response.end(FILE.subarray(5));
  });
  const sink = memory(FILE.slice(0, 1000));
  await fetchInto(sink, { name: "a", url }, '"1"');
  expect(Buffer.compare(sink.bytes(), FILE)).toBe(0);
});

test("a file that was whole already, and whose end nobody had noted, is asked for once", async () => {
  const url = await serve((_, response) =>
    response.writeHead(416, { "Content-Range": `bytes */${FILE.length}` }).end(),
  );
  await fetchInto(memory(FILE.slice()), { name: "a", url }, '"1"');
});

test("a wrong hash deletes the file and says both", async () => {
  const url = await serve((request, response) => send(request, response));
  const sink = memory();
  const file = { name: "a", url, bytes: FILE.length, sha256: "0".repeat(64) };
  await expect(fetchInto(sink, file)).rejects.toThrow(
    `expected SHA-256 ${file.sha256}, got ${SHA256}; it came damaged and was deleted`,
  );
  expect(sink.getSize()).toBe(0);
});

test.each([403, 404])("HTTP %i is told at once", async (status) => {
  let requests = 0;
  const url = await serve((_, response) => {
    requests += 1;
    response.writeHead(status).end();
  });
  await expect(fetchInto(memory(), { name: "a", url })).rejects.toMatchObject({ kind: "file", retryable: false });
  expect(requests).toBe(1);
});

test("a busy server is asked again", async () => {
  let requests = 0;
  const url = await serve((request, response) => {
    requests += 1;
    if (requests === 1) response.writeHead(503).end();
    else send(request, response);
  });
  const sink = memory();
  await fetchInto(sink, { name: "a", url });
  expect(sink.getSize()).toBe(FILE.length);
});

test("a redirect is followed", async () => {
  const url = await serve((request, response) => send(request, response));
  const from = await serve((_, response) => response.writeHead(302, { Location: url }).end());
  const sink = memory();
  await fetchInto(sink, { name: "a", url: from });
  expect(sink.getSize()).toBe(FILE.length);
});

test("a full disk is told with what to do, and not tried again", async () => {
  const url = await serve((request, response) => send(request, response));
  const full = () => {
    throw new DOMException("no room", "QuotaExceededError");
  };
  const sink = { ...memory(), write: full };
  const fetching = fetchInto(sink, { name: "a", url });
  await expect(fetching).rejects.toMatchObject({ kind: "file", retryable: false });
  await expect(fetching).rejects.toThrow("remove models that are stored");
});

test("an abort ends it, and leaves what there is", async () => {
  const url = await serve((request, response) => {
    response.writeHead(206, { "Content-Range": `bytes 0-${FILE.length - 1}/${FILE.length}`, ETag: '"1"' });
    response.write(FILE.subarray(0, 200_000));
    request.on("close", () => response.destroy());
  });
  const sink = memory();
  await expect(fetchInto(sink, { name: "a", url }, undefined, AbortSignal.timeout(300))).rejects.toThrow("timeout");
  expect(sink.getSize()).toBe(200_000);
});
