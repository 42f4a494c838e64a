/** A model file in the worker: whatever it is, it is read in ranges, and never held whole in the wasm heap. */
import { WebReftError } from "./error.js";

/** A file of known length. */
export interface Reader {
  readonly name: string;
  readonly length: number;
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** Bytes asked of a server at a time: a header is read in many small pieces, tensors in large ones. */
const WINDOW = 4 << 20;

/** Opens a file. `onDownload` hears of bytes only where a server knows no ranges and the file is fetched whole. */
export async function open(
  source: string | Blob,
  signal: AbortSignal,
  onDownload: (loaded: number, total: number) => void,
): Promise<Reader> {
  if (typeof source !== "string") return blobReader(source, signal);
  const response = await request(source, 0, WINDOW, signal);
  if (response.status !== 206) return blobReader(await download(response, signal, onDownload), signal);
  const first = new Uint8Array(await body(response, source, signal));
  return rangeReader(source, await lengthOf(response, source, signal), first, signal);
}

function blobReader(blob: Blob, signal: AbortSignal): Reader {
  return {
    name: "model.gguf",
    length: blob.size,
    async read(offset, length) {
      signal.throwIfAborted();
      checkRange(blob.size, offset, length);
      try {
        return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      } catch (error) {
        throw new WebReftError("file", `reading ${length} bytes at ${offset}: ${error}`, { cause: error });
      }
    },
  };
}

/** Reads through a window over the file, so that neighbouring small reads cost one request. */
function rangeReader(url: string, length: number, first: Uint8Array<ArrayBuffer>, signal: AbortSignal): Reader {
  let window = { start: 0, bytes: first };
  return {
    name: "model.gguf",
    length,
    async read(offset, count) {
      signal.throwIfAborted();
      checkRange(length, offset, count);
      if (count === 0) return new Uint8Array();
      if (offset < window.start || offset + count > window.start + window.bytes.length) {
        const wanted = Math.min(Math.max(count, WINDOW), length - offset);
        const response = await request(url, offset, wanted, signal);
        if (response.status !== 206) {
          throw new WebReftError("file", `${url}: the server stopped answering with ranges`, { retryable: true });
        }
        const bytes = new Uint8Array(await body(response, url, signal));
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

async function request(url: string, offset: number, length: number, signal: AbortSignal): Promise<Response> {
  const headers = { Range: `bytes=${offset}-${offset + length - 1}` };
  const response = await guard(url, signal, () => fetch(url, { headers, signal }));
  if (!response.ok) {
    const retryable = response.status >= 500 || response.status === 429;
    throw new WebReftError("file", `${url}: HTTP ${response.status} ${response.statusText}`.trimEnd(), { retryable });
  }
  return response;
}

function body(response: Response, url: string, signal: AbortSignal): Promise<ArrayBuffer> {
  return guard(url, signal, () => response.arrayBuffer());
}

/** The whole file's length: the end of `Content-Range`, which a server may hide from other origins. */
async function lengthOf(response: Response, url: string, signal: AbortSignal): Promise<number> {
  const total = response.headers.get("Content-Range")?.split("/")[1];
  if (total && total !== "*") return Number(total);
  const head = await guard(url, signal, () => fetch(url, { method: "HEAD", signal }));
  const length = Number(head.headers.get("Content-Length"));
  if (!length) throw new WebReftError("file", `${url}: the server does not say how long the file is`);
  return length;
}

/** The whole of a response as a blob, which the browser may keep on disk. */
async function download(
  response: Response,
  signal: AbortSignal,
  onDownload: (loaded: number, total: number) => void,
): Promise<Blob> {
  const total = Number(response.headers.get("Content-Length"));
  let loaded = 0;
  const count = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(chunk, controller) {
      loaded += chunk.length;
      onDownload(loaded, total);
      controller.enqueue(chunk);
    },
  });
  const counted = new Response(response.body?.pipeThrough(count) ?? null);
  return guard(response.url, signal, () => counted.blob());
}

/** Turns what the network throws into this package's error; an abort stays what the caller said. */
async function guard<T>(url: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    signal.throwIfAborted();
    throw new WebReftError("file", `could not fetch ${url}: ${error}`, { cause: error, retryable: true });
  }
}

function checkRange(length: number, offset: number, count: number): void {
  if (offset + count > length) {
    throw new WebReftError("file", `the file is cut off: expected ${count} bytes at ${offset}, it has ${length}`);
  }
}
