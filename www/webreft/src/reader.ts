/** A model's file in the worker: whatever it is, it is read in ranges, and never held whole in the wasm heap. */
import type { Reader } from "../wasm/webreft.js";
import { WebReftError } from "./error.js";
import { checkStart, START } from "./format.js";
import { announced, isPacked, type Network, NetworkError, rangeOf, type Version, versionOf } from "./network.js";
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
        const what = `${name}: reading ${length} bytes at ${offset}: ${error}`;
        throw new WebReftError("file", what, { cause: error, retryable: true });
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
  const first = await open(file, network);
  if (!(first instanceof Response)) return rangeReader(file, first, network);
  return blobReader(file.name, await download(file, first, network, onDownload), network.signal);
}

/** Reads the header of a file on the network. Where the server knows no ranges it is fetched no further than it is read. */
export async function headerReader(file: RemoteFile, network: Network): Promise<Reader> {
  const first = await open(file, network);
  return first instanceof Response ? startReader(file, first, network) : rangeReader(file, first, network);
}

/** Part of a file, and what its server says of the whole. */
interface Part extends Whole {
  bytes: Uint8Array<ArrayBuffer>;
}

/** What tells one version of a file from another. */
interface Whole {
  version: Version | undefined;
  /** The file's length; undefined where the server does not say, or hides it from other origins. */
  length: number | undefined;
}

/** Fetches the start of a file; where the server knows no ranges, an answer with all of it. */
async function open(file: RemoteFile, network: Network): Promise<Part | Response> {
  const part = await fetchPart(file, 0, WINDOW, network);
  if (!(part instanceof Response)) {
    checkStart(file, part.bytes);
    return part;
  }
  if (part.status !== 206) return part;
  await part.body?.cancel();
  return network.patiently(() => network.get(file.url));
}

/** Reads through a window over the file, so that neighbouring small reads cost one request. All of it is one version. */
async function rangeReader(file: RemoteFile, first: Part, network: Network): Promise<Reader> {
  const { name, url } = file;
  const length = first.length ?? (await lengthOf(file, first, network));
  const known = { version: first.version, length };
  let window = { start: 0, bytes: first.bytes };
  return {
    name,
    length,
    async read(offset, count) {
      network.signal.throwIfAborted();
      checkRange(name, length, offset, count);
      if (count === 0) return new Uint8Array();
      if (offset < window.start || offset + count > window.start + window.bytes.length) {
        const wanted = Math.min(Math.max(count, WINDOW), length - offset);
        const part = await fetchPart(file, offset, wanted, network, count, known);
        if (part instanceof Response) {
          await part.body?.cancel();
          throw new WebReftError("file", `${url}: the server stopped answering with ranges`, { retryable: true });
        }
        window = { start: offset, bytes: part.bytes };
      }
      return window.bytes.slice(offset - window.start, offset - window.start + count);
    },
  };
}

/**
 * Fetches bytes of a file, so many at least; where the server knows no ranges, or packs them, its answer. What drops is gone on with.
 *
 * @throws {WebReftError} `file`, retryable, where the network goes on failing, or the file is another one than was known.
 */
function fetchPart(
  { url, bytes: size }: RemoteFile,
  offset: number,
  wanted: number,
  network: Network,
  least = 0,
  known?: Whole,
): Promise<Part | Response> {
  const bytes = new Uint8Array(wanted);
  let held = 0;
  let whole = known;
  const fault = (what: string) => new NetworkError(`${url}: ${what}`);
  return network.patiently(
    async () => {
      const at = offset + held;
      if (whole && held === Math.min(wanted, (whole.length ?? Number.POSITIVE_INFINITY) - offset)) {
        return { ...whole, bytes: bytes.subarray(0, held) };
      }
      const response = await network.get(url, { headers: { Range: `bytes=${at}-${offset + wanted - 1}` } });
      if (response.status !== 206 || isPacked(response)) return response;
      const { start = at, end, total } = rangeOf(response);
      const part = { version: versionOf(response), length: size ?? total };
      const there = Math.min(wanted, (part.length ?? Number.POSITIVE_INFINITY) - offset);
      try {
        if (start !== at) throw fault(`expected bytes from ${at}, the server sent those from ${start}`);
        if (end !== undefined && end > offset + there)
          throw fault(`expected bytes to ${offset + there}, not to ${end}`);
        whole ??= part;
        checkSame(url, whole, part);
        for await (const chunk of network.chunks(url, response)) {
          if (held + chunk.length > there) {
            held = 0;
            throw fault(`expected ${there} bytes at ${offset}, the server sends more`);
          }
          bytes.set(chunk, held);
          held += chunk.length;
        }
      } catch (error) {
        await response.body?.cancel().catch(() => {}); // it may have failed already
        throw error;
      }
      if (held < least || offset + held < (end ?? 0)) throw fault(`cut off at ${offset + held}`);
      return { ...whole, bytes: bytes.subarray(0, held) };
    },
    () => held,
  );
}

/**
 * Compares what is known of a file with what another answer says.
 *
 * @throws {WebReftError} `file`, retryable, where they are two versions: what was read of the first is of no use.
 */
function checkSame(url: string, known: Whole, { version, length }: Whole): void {
  if (version === known.version && (length === undefined || length === known.length)) return;
  throw new WebReftError("file", `${url}: the file has changed while it was read; load again`, { retryable: true });
}

/** The whole file's length, where a server hides from other origins what a range says of it. */
function lengthOf({ url }: RemoteFile, first: Part, network: Network): Promise<number> {
  return network.patiently(async () => {
    const response = await network.get(url, { method: "HEAD" });
    const length = announced(response);
    if (!length) throw nameless(url);
    checkSame(url, first, { version: versionOf(response), length: undefined });
    return length;
  });
}

/** Reads the start of a file from an answer that holds all of it, and keeps what it has read. */
async function startReader(file: RemoteFile, first: Response, network: Network): Promise<Reader> {
  const { name, url } = file;
  const length = announced(first);
  if (!length) throw nameless(url);
  const known = { version: versionOf(first), length };
  let chunks: ReturnType<Network["chunks"]> | undefined = network.chunks(url, first);
  const start = new Uint8Array(Math.min(length, MAX_HEADER));
  let held = 0;
  const begin = async () => {
    const response = await network.get(url);
    checkSame(url, known, { version: versionOf(response), length: announced(response) });
    held = 0;
    return network.chunks(url, response);
  };
  const readTo = async (end: number) => {
    chunks ??= await begin();
    try {
      while (held < end) {
        const { done, value } = await chunks.next();
        if (done) throw new NetworkError(`${url}: cut off at ${held} bytes`);
        const fitting = value.subarray(0, start.length - held);
        start.set(fitting, held);
        held += fitting.length;
      }
    } catch (error) {
      chunks = undefined;
      throw error;
    }
  };
  await network.patiently(() => readTo(Math.min(START, length)));
  checkStart(file, start.subarray(0, held));
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
      await network.patiently(() => readTo(offset + count));
      return start.slice(offset, offset + count);
    },
  };
}

function nameless(url: string): WebReftError {
  return new WebReftError("file", `${url}: the server does not say how long the file is`);
}

/** The whole of a file as a blob, which the browser may keep on disk. What drops is begun anew, as long as twice its bytes are enough. */
async function download(
  file: RemoteFile,
  first: Response,
  network: Network,
  onDownload: (loaded: number, total: number) => void,
): Promise<Blob> {
  const { url } = file;
  let received = 0;
  let next: Response | undefined = first;
  return network.patiently(async () => {
    const response = next ?? (await network.get(url));
    next = undefined;
    const total = file.bytes ?? announced(response);
    if (received > 0 && received > (total ?? 0)) {
      await response.body?.cancel();
      const what = `${received} bytes came, and the file never to its end`;
      throw new WebReftError("file", `${url}: ${what}; load again`, { retryable: true });
    }
    const parts: Blob[] = [];
    let loaded = 0;
    for await (const chunk of network.chunks(url, response)) {
      parts.push(new Blob([chunk]));
      loaded += chunk.length;
      received += chunk.length;
      onDownload(loaded, total ?? 0);
    }
    // A length that only the transfer has is not the file's where the transfer is packed: then more comes.
    if (loaded < (total ?? 0) || (file.bytes !== undefined && loaded > file.bytes)) {
      throw new NetworkError(`${url}: expected ${total} bytes, got ${loaded}`);
    }
    const blob = new Blob(parts);
    checkStart(file, new Uint8Array(await blob.slice(0, 64).arrayBuffer()));
    return blob;
  });
}

function checkRange(name: string, length: number, offset: number, count: number): void {
  if (offset + count > length) {
    throw new WebReftError(
      "file",
      `${name}: the file is cut off: expected ${count} bytes at ${offset}, it has ${length}`,
    );
  }
}
