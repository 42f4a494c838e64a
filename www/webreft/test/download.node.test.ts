/** Downloads that are gone on with, against servers that drop, lie and change their minds. */
import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { afterEach, expect, test, vi } from "vitest";
import { download } from "../src/download.js";
import { Network } from "../src/network.js";
import type { RemoteFile } from "../src/remote.js";
import { CheckedSink, type Sink } from "../src/sink.js";
import { close, listen } from "./hub.js";
import { memory } from "./memory.js";

const FILE = new Uint8Array(Buffer.concat([Buffer.from("GGUF"), randomBytes(999_996)]));
const SHA256 = createHash("sha256").update(FILE).digest("hex");

/** A tenth of the package's own. */
const PATIENCE = { silence: 3000, waits: [50, 100, 200, 400] };

const servers: ReturnType<typeof createServer>[] = [];
afterEach(() => {
  vi.restoreAllMocks();
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
async function fetchInto(sink: Sink, file: RemoteFile, version?: string, signal = AbortSignal.timeout(60_000)) {
  const told: { versions: (string | undefined)[]; bytes: number[] } = { versions: [], bytes: [] };
  const watch = {
    version,
    size: undefined,
    onVersion: async (version: string | undefined) => {
      told.versions.push(version);
    },
    onBytes: (loaded: number) => told.bytes.push(loaded),
    onVerify: () => {},
  };
  const hash = createHash("sha256");
  const fed = { update: (bytes: Uint8Array) => void hash.update(bytes), finish: () => hash.digest("hex") };
  const network = new Network({ endpoint: "https://hub.example" }, signal, PATIENCE);
  await download(file, new CheckedSink(file.name, sink), fed, network, watch);
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
  expect(requests).toBe(4); // three halves came; the fourth is not taken, for no more than twice the file is
});

test("a server that never answers with success is asked after each pause", async () => {
  let requests = 0;
  const url = await serve((_, response) => {
    requests += 1;
    response.writeHead(503).end();
  });
  await expect(fetchInto(memory(), { name: "a", url })).rejects.toMatchObject({ kind: "file", retryable: true });
  expect(requests).toBe(1 + PATIENCE.waits.length);
});

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

test.each([
  ["throws", () => undefined],
  ["stores less", (sink: Sink, bytes: Uint8Array<ArrayBuffer>, at: number) => sink.write(bytes.subarray(1), { at })],
  ["gives a negative count, as Chromium does", () => 2 ** 32 - 4],
] as const)("a write for which there is no room (it %s) leaves what was stored before it", async (_, fail) => {
  const url = await serve((request, response) => send(request, response));
  const sink = memory();
  const write = (bytes: Uint8Array<ArrayBuffer>, { at }: { at: number }) => {
    if (at < 300_000) return sink.write(bytes, { at });
    const told = fail(sink, bytes, at);
    if (typeof told === "number") return told;
    throw new DOMException("no room", "QuotaExceededError");
  };
  const fetching = fetchInto({ ...sink, write }, { name: "a", url });
  await expect(fetching).rejects.toMatchObject({ kind: "file", retryable: true, isFull: true });
  expect(sink.getSize()).toBeGreaterThanOrEqual(300_000);
  expect(Buffer.compare(sink.bytes(), FILE.subarray(0, sink.getSize()))).toBe(0);
  await fetchInto(sink, { name: "a", url }, '"1"');
  expect(Buffer.compare(sink.bytes(), FILE)).toBe(0);
});

test.each(["a.gguf", "model.safetensors", "config.json", "chat_template.jinja", "file"])(
  "a web page in place of %s is refused at once, and nothing of it is kept",
  async (name) => {
    let requests = 0;
    const page = Buffer.from(`<!DOCTYPE html><title>Sign in</title>${"x".repeat(1000)}`);
    const url = await serve((_, response) => {
      requests += 1;
      response.writeHead(200, { "Content-Type": "text/html", "Content-Length": page.length }).end(page);
    });
    const sink = memory();
    const fetching = fetchInto(sink, { name, url });
    await expect(fetching).rejects.toMatchObject({ kind: "file", retryable: true });
    await expect(fetching).rejects.toThrow("got a web page; nothing of it was kept");
    expect(sink.getSize()).toBe(0);
    expect(requests).toBe(1);
  },
);

test.each([
  ["config.json", "{}", true],
  ["tokenizer.json", ' [{"a": 1}]\n', true],
  ["config.json", '{"a": ', false],
  ["config.json", "", false],
  ["chat_template.jinja", "{{ x }}", true],
  ["model.safetensors", "\u0002\0\0\0\0\0\0\0{}", true],
  ["model.safetensors", "\u0002\0\0\0\0\0\0\0[]", false],
  ["model.safetensors", "{}", false],
  ["a.gguf", "GGUF", true],
  ["a.gguf", "GGU", false],
])("%s with %j: %s", async (name, text, isRight) => {
  const url = await serve((_, response) => response.end(text));
  const sink = memory();
  const fetching = fetchInto(sink, { name, url });
  if (isRight) await fetching;
  else await expect(fetching).rejects.toMatchObject({ kind: "file", retryable: true });
  expect(new TextDecoder().decode(sink.bytes())).toBe(isRight ? text : "");
});

test.each([100, 999_000, 1_000_500, 5_000_000])("a total of %i in Content-Range is not believed", async (total) => {
  let requests = 0;
  const url = await serve((request, response) => {
    requests += 1;
    if (requests > 1) return send(request, response);
    const headers = { ETag: '"1"', "Content-Range": `bytes 0-999999/${total}`, "Content-Length": FILE.length };
    response.writeHead(206, headers).end(FILE);
  });
  for (const file of [
    { name: "a", url },
    { name: "a", url, bytes: FILE.length, sha256: SHA256 },
  ]) {
    requests = 0;
    const sink = memory();
    const { versions } = await fetchInto(sink, file);
    expect(Buffer.compare(sink.bytes(), FILE)).toBe(0);
    expect(versions.length).toBeLessThanOrEqual(2);
  }
});

test("a server that packs ranges is asked for the whole file instead", async () => {
  let sent = 0;
  const url = await serve((request, response) => {
    const ranged = request.headers.range !== undefined;
    const packed = gzipSync(FILE.subarray(startOf(request)));
    const range = { "Content-Range": `bytes ${startOf(request)}-999999/1000000` };
    response.writeHead(ranged ? 206 : 200, { "Content-Encoding": "gzip", ETag: '"1"', ...(ranged && range) });
    if (ranged && startOf(request) === 0)
      response.write(packed.subarray(0, 400_000), () => setTimeout(() => response.destroy(), 20));
    else response.end(packed);
    sent += 1;
  });
  const sink = memory();
  await fetchInto(sink, { name: "a", url });
  expect(Buffer.compare(sink.bytes(), FILE)).toBe(0);
  expect(sent).toBe(3);
});

test("a server that packs the whole file and hides that from other origins gives the right file", async () => {
  // fetch unpacks it all the same, and its length is that of what was sent.
  const text = new TextEncoder().encode(`{"a": [${"1, ".repeat(50_000)}1]}`);
  const url = await serve((_, response) => {
    const packed = gzipSync(text);
    response.writeHead(200, { "Content-Encoding": "gzip", "Content-Length": packed.length }).end(packed);
  });
  const { get } = Headers.prototype;
  vi.spyOn(Headers.prototype, "get").mockImplementation(function (this: Headers, name) {
    return name === "Content-Encoding" ? null : get.call(this, name);
  });
  const sink = memory();
  await fetchInto(sink, { name: "tokenizer.json", url });
  expect(Buffer.compare(sink.bytes(), text)).toBe(0);
});

test("what a server sends beyond a file of known hash is not taken", async () => {
  const url = await serve((_, response) => response.end(Buffer.concat([FILE, Buffer.alloc(70_000)])));
  const sink = memory();
  await fetchInto(sink, { name: "a", url, bytes: FILE.length, sha256: SHA256 });
  expect(Buffer.compare(sink.bytes(), FILE)).toBe(0);
});

test("a connection that goes silent counts as dropped", async () => {
  let requests = 0;
  const url = await serve((request, response) => {
    requests += 1;
    if (requests > 1) return send(request, response);
    response
      .writeHead(206, { ETag: '"1"', "Content-Range": "bytes 0-999999/1000000" })
      .write(FILE.subarray(0, 100_000));
  });
  const sink = memory();
  await fetchInto(sink, { name: "a", url });
  expect(Buffer.compare(sink.bytes(), FILE)).toBe(0);
  expect(requests).toBe(2);
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
