/** A model's file in the worker: whatever it is, it is read in ranges, and never held whole in the wasm heap. */
import type { Reader } from "../wasm/webreft.js";
import { WebReftError } from "./error.js";
import { announced, type Network, rangeOf } from "./network.js";
import type { RemoteFile } from "./remote.js";

/** Bytes asked of a server at a time: a header is read in many small pieces, tensors in large ones. */
const WINDOW = 4 << 20;
/** Bytes of a header that are held, where a server knows no ranges: those of a quarter of a million tokens are 12 MB. */
const MAX_HEADER = 64 << 20;

/** Reads a file that the visitor chose, or one that is stored. */
export function blobReader(name: string, blob: Blob, signal: AbortSignal): Reader {
  return {
    name,
    length: blob.size,
    async read(offset, length) {
      signal.throwIfAborted();
      checkRange(name, blob.size, offset, length);
      try {
        return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      } catch (error) {
        throw new WebReftError("file", `${name}: reading ${length} bytes at ${offset}: ${error}`, { cause: error });
      }
    },
  };
}

/** Reads a file on the network. Where the server knows no ranges it is fetched whole, of which `onDownload` hears. */
export async function remoteReader(
  file: RemoteFile,
  network: Network,
  onDownload: (loaded: number, total: number) => void,
): Promise<Reader> {
  const response = await requestRange(file.url, 0, WINDOW, network);
  if (response.status === 206) return rangeReader(file, response, network);
  return blobReader(file.name, await download(response, file, network, onDownload), network.signal);
}

/** Reads the header of a file on the network. Where the server knows no ranges it is fetched no further than it is read. */
export async function headerReader(file: RemoteFile, network: Network): Promise<Reader> {
  const response = await requestRange(file.url, 0, WINDOW, network);
  return response.status === 206 ? rangeReader(file, response, network) : startReader(file, response, network);
}

/** Reads through a window over the file, so that neighbouring small reads cost one request. */
async function rangeReader({ name, url }: RemoteFile, first: Response, network: Network): Promise<Reader> {
  const length = await lengthOf(first, url, network);
  let window = { start: 0, bytes: await body(first, url, network) };
  return {
    name,
    length,
    async read(offset, count) {
      network.signal.throwIfAborted();
      checkRange(name, length, offset, count);
      if (count === 0) return new Uint8Array();
      if (offset < window.start || offset + count > window.start + window.bytes.length) {
        const wanted = Math.min(Math.max(count, WINDOW), length - offset);
        const response = await requestRange(url, offset, wanted, network);
        if (response.status !== 206) {
          throw new WebReftError("file", `${url}: the server stopped answering with ranges`, { retryable: true });
        }
        const bytes = await body(response, url, network);
        if (bytes.length < count) {
          const got = `expected ${wanted} bytes at ${offset}, got ${bytes.length}`;
          throw new WebReftError("file", `${url}: ${got}`, { retryable: true });
        }
        window = { start: offset, bytes };
      }
      return window.bytes.slice(offset - window.start, offset - window.start + count);
    },
  };
}

/** Reads the start of a file from an answer that holds all of it, and keeps what it has read. */
function startReader({ name, url }: RemoteFile, response: Response, network: Network): Reader {
  const length = announced(response);
  if (!length) throw nameless(url);
  const chunks = network.chunks(url, response);
  const start = new Uint8Array(Math.min(length, MAX_HEADER));
  let held = 0;
  return {
    name,
    length,
    async read(offset, count) {
      checkRange(name, length, offset, count);
      if (offset + count > start.length) {
        throw new WebReftError(
          "unsupported",
          `${url}: the server knows no ranges, and the header has more than ${MAX_HEADER} bytes`,
        );
      }
      while (held < offset + count) {
        const { done, value } = await chunks.next();
        if (done) throw new WebReftError("file", `${url}: cut off at ${held} bytes`, { retryable: true });
        const fitting = value.subarray(0, start.length - held);
        start.set(fitting, held);
        held += fitting.length;
      }
      return start.slice(offset, offset + count);
    },
  };
}

async function requestRange(url: string, offset: number, length: number, network: Network): Promise<Response> {
  const headers = { Range: `bytes=${offset}-${offset + length - 1}` };
  const response = await network.get(url, { headers });
  const { start } = rangeOf(response);
  if (start !== undefined && start !== offset) {
    throw new WebReftError("file", `${url}: expected bytes from ${offset}, the server sent those from ${start}`);
  }
  return response;
}

async function body(response: Response, url: string, network: Network): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await network.guard(url, () => response.arrayBuffer()));
}

/** The whole file's length: the end of `Content-Range`, which a server may hide from other origins. */
async function lengthOf(response: Response, url: string, network: Network): Promise<number> {
  const { total } = rangeOf(response);
  const length = total ?? announced(await network.get(url, { method: "HEAD" }));
  if (!length) throw nameless(url);
  return length;
}

function nameless(url: string): WebReftError {
  return new WebReftError("file", `${url}: the server does not say how long the file is`);
}

/** The whole of a response as a blob, which the browser may keep on disk. */
async function download(
  response: Response,
  { url }: RemoteFile,
  network: Network,
  onDownload: (loaded: number, total: number) => void,
): Promise<Blob> {
  const total = announced(response) ?? 0;
  const parts: Blob[] = [];
  let loaded = 0;
  for await (const chunk of network.chunks(url, response)) {
    parts.push(new Blob([chunk]));
    loaded += chunk.length;
    onDownload(loaded, total);
  }
  return new Blob(parts);
}

function checkRange(name: string, length: number, offset: number, count: number): void {
  if (offset + count > length) {
    throw new WebReftError(
      "file",
      `${name}: the file is cut off: expected ${count} bytes at ${offset}, it has ${length}`,
    );
  }
}
