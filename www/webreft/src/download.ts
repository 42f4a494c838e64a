/** One file from the network to the disk: gone on with where it was left, tried again when it drops, and checked when it is whole. */
import { WebReftError } from "./error.js";
import { announced, type Network, rangeOf, refused } from "./network.js";
import type { RemoteFile } from "./remote.js";
import type { Sink } from "./store.js";

/** Milliseconds before each new try. When more was got than ever before, they begin anew. */
const WAITS = [500, 1000, 2000, 4000];
/** Bytes of a file that are hashed at a time. */
const PIECE = 4 << 20;

/** A hash that is fed in pieces. */
export interface Hash {
  update(bytes: Uint8Array): void;
  /** In hexadecimal. */
  finish(): string;
}

/** Which version of a file a server has: its `ETag`, or `Last-Modified`. */
export type Version = string;

/** How a download is watched. */
export interface Watch {
  /** The version that the file on disk is a part of. */
  version: Version | undefined;
  /** Called before the first byte of a version is written, with its size where the server says it; may refuse it. */
  onVersion(version: Version | undefined, bytes: number | undefined): Promise<void>;
  onBytes(loaded: number, total: number): void;
  onVerify(loaded: number, total: number): void;
}

/**
 * Fetches what is missing of a file on disk, and checks it.
 *
 * @throws {WebReftError} `file`: retryable where the network failed, which leaves what there is, and where the hash is wrong, which leaves nothing.
 */
export async function download(
  file: RemoteFile,
  sink: Sink,
  hash: Hash,
  network: Network,
  watch: Watch,
): Promise<void> {
  let best = sink.getSize();
  for (let failures = 0; ; ) {
    try {
      await fetchRest(file, sink, network, watch);
      break;
    } catch (error) {
      network.signal.throwIfAborted();
      sink.flush();
      if (!(error instanceof WebReftError && error.retryable)) throw error;
      if (sink.getSize() > best) failures = 0;
      best = Math.max(best, sink.getSize());
      const wait = WAITS[failures++];
      if (wait === undefined) throw error;
      await network.pause(wait);
    }
  }
  sink.flush();
  if (file.sha256) await verify(file, file.sha256, sink, hash, network, watch);
}

/** One try: all that is missing, in one request. */
async function fetchRest(file: RemoteFile, sink: Sink, network: Network, watch: Watch): Promise<void> {
  const { url, bytes, sha256 } = file;
  // Without a hash and a version nobody could tell whether what is there belongs to what comes.
  if (!sha256 && !watch.version) sink.truncate(0);
  if (bytes !== undefined && sink.getSize() > bytes) sink.truncate(0);
  const at = sink.getSize();
  if (bytes !== undefined && at === bytes) return;
  const response = await network.fetch(url, { headers: { Range: `bytes=${at}-` }, cache: "no-store" });
  if (response.status === 416 && at > 0) return endOf(file, response, sink, at);
  if (!response.ok) throw refused(url, response);

  const version = response.headers.get("ETag") ?? response.headers.get("Last-Modified") ?? undefined;
  const start = response.status === 206 ? (rangeOf(response).start ?? at) : 0;
  const isSame = sha256 !== undefined || version === watch.version;
  if (start !== 0 && (start !== at || !isSame)) {
    await response.body?.cancel();
    sink.truncate(0);
    const what = start === at ? "the file is another one now" : `expected bytes from ${at}, got those from ${start}`;
    throw new WebReftError("file", `${url}: ${what}`, { retryable: true });
  }
  const rest = announced(response);
  const total = rangeOf(response).total ?? (rest === undefined ? bytes : start + rest);
  if (start === 0) {
    sink.truncate(0);
    watch.version = version;
    try {
      await watch.onVersion(version, total);
    } catch (error) {
      await response.body?.cancel();
      throw error;
    }
  }
  await write(url, response, sink, network, total, watch);
}

/** Appends an answer's bytes. */
async function write(
  url: string,
  response: Response,
  sink: Sink,
  network: Network,
  total: number | undefined,
  watch: Watch,
): Promise<void> {
  let at = sink.getSize();
  for await (const chunk of network.chunks(url, response)) {
    if (total !== undefined && at + chunk.length > total) {
      sink.truncate(0);
      throw new WebReftError("file", `${url}: expected ${total} bytes, the server sends more`);
    }
    at += append(sink, chunk, at);
    watch.onBytes(at, total ?? 0);
  }
  if (total !== undefined && at < total) {
    throw new WebReftError("file", `${url}: cut off at ${at} of ${total} bytes`, { retryable: true });
  }
}

/** @throws {WebReftError} `file`, retryable, where the disk or the browser's quota is full. */
function append(sink: Sink, bytes: Uint8Array<ArrayBuffer>, at: number): number {
  let written = 0;
  try {
    written = sink.write(bytes, { at });
  } catch (error) {
    throw fullDisk(error);
  }
  if (written < bytes.length) {
    sink.truncate(at);
    throw fullDisk(`${written} of ${bytes.length} bytes were written`);
  }
  return written;
}

function fullDisk(cause: unknown): WebReftError {
  const advice = "remove models that are stored, or load without storing (cache: false)";
  return new WebReftError("file", `the browser's storage takes no more: ${cause}; ${advice}`, { cause });
}

/** What it means that a server has nothing from there on: the file is whole, or what there is belongs to another one. */
function endOf({ url }: RemoteFile, response: Response, sink: Sink, at: number): void {
  const total = /^bytes \*\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "")?.[1];
  if (Number(total) === at) return;
  sink.truncate(0);
  throw new WebReftError("file", `${url}: the server has no bytes from ${at} on; begun anew`, { retryable: true });
}

async function verify(
  { url }: RemoteFile,
  expected: string,
  sink: Sink,
  hash: Hash,
  network: Network,
  watch: Watch,
): Promise<void> {
  const size = sink.getSize();
  const piece = new Uint8Array(PIECE);
  for (let at = 0; at < size; ) {
    network.signal.throwIfAborted();
    const count = sink.read(piece, { at });
    if (count === 0)
      throw new WebReftError("file", `${url}: what was stored cannot be read at ${at}`, { retryable: true });
    hash.update(piece.subarray(0, count));
    at += count;
    watch.onVerify(at, size);
    await new Promise((resolve) => setTimeout(resolve)); // an abort comes between pieces
  }
  const got = hash.finish();
  if (got === expected) return;
  sink.truncate(0);
  const what = `expected SHA-256 ${expected}, got ${got}`;
  throw new WebReftError("file", `${url}: ${what}; it came damaged and was deleted, load again`, { retryable: true });
}
