/** One file from the network to the disk: gone on with where it was left, tried again when it drops, and checked when it is whole. */
import { WebReftError } from "./error.js";
import { checkStart, checkWhole, START } from "./format.js";
import {
  announced,
  isPacked,
  type Network,
  NetworkError,
  rangeOf,
  refused,
  type Version,
  versionOf,
} from "./network.js";
import type { RemoteFile } from "./remote.js";
import type { Sink } from "./sink.js";

/** Bytes of a file that are hashed at a time. */
const PIECE = 4 << 20;

/** A hash that is fed in pieces. */
export interface Hash {
  update(bytes: Uint8Array): void;
  /** In hexadecimal. */
  finish(): string;
}

/** How a download is watched. */
export interface Watch {
  /** The version that the file on disk is a part of. */
  version: Version | undefined;
  /** The size of that version, where the server said it. */
  size: number | undefined;
  /** Called before the first byte of a version is written, with its size where the server says it; may refuse it. */
  onVersion(version: Version | undefined, bytes: number | undefined): Promise<void>;
  onBytes(loaded: number, total: number): void;
  onVerify(loaded: number, total: number): void;
}

/**
 * Fetches what is missing of a file on disk, and checks it: its length and its hash, or where there is none whether it begins and ends as
 * such a file does. No more than twice its bytes are fetched.
 *
 * @throws {WebReftError} `file`: retryable where the network failed, which leaves what there is, and where what came is not the file, which leaves nothing.
 */
export async function download(
  file: RemoteFile,
  sink: Sink,
  hash: Hash,
  network: Network,
  watch: Watch,
): Promise<void> {
  const fetching = new Fetching(file, sink, network, watch);
  await network.patiently(
    () => fetching.rest(),
    () => sink.getSize(),
  );
  if (file.sha256) await verify(file, file.sha256, sink, hash, network, watch);
  else checkWhole(file, sink);
  sink.flush();
}

/** The tries to get one file. */
class Fetching {
  readonly #file: RemoteFile;
  readonly #sink: Sink;
  readonly #network: Network;
  readonly #watch: Watch;
  /** Bytes that came, those that were dropped again among them. */
  #received = 0;
  /** How often it was begun. */
  #begun = 0;
  /** Whether the server is asked for ranges. */
  #ranges = true;

  constructor(file: RemoteFile, sink: Sink, network: Network, watch: Watch) {
    this.#file = file;
    this.#sink = sink;
    this.#network = network;
    this.#watch = watch;
  }

  /** One try: all that is missing, in one request. */
  async rest(): Promise<void> {
    const { url, bytes, sha256 } = this.#file;
    const sink = this.#sink;
    // Without a hash and a version nobody could tell whether what is there belongs to what comes.
    if (!sha256 && !this.#watch.version) sink.truncate(0);
    if (bytes !== undefined && sink.getSize() > bytes) sink.truncate(0);
    const at = sink.getSize();
    if (at === bytes) return;
    const headers: HeadersInit = this.#ranges ? { Range: `bytes=${at}-` } : {};
    const response = await this.#network.fetch(url, { headers, cache: "no-store" });
    if (response.status === 416 && at > 0) return this.#endOf(response, at);
    if (!response.ok) throw refused(url, response);
    try {
      await this.#take(response, at);
    } catch (error) {
      await response.body?.cancel().catch(() => {}); // it may have failed already
      throw error;
    }
  }

  /** What it means that a server has nothing from there on: the file is whole, or what there is belongs to another one. */
  #endOf(response: Response, at: number): void {
    const { bytes = at } = this.#file;
    const total = /^bytes \*\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "")?.[1];
    if (Number(total) === at && bytes === at) return;
    this.#drop(`the server has no bytes from ${at} on`);
  }

  /** Forgets what there is, to begin anew. */
  #drop(why: string): never {
    this.#sink.truncate(0);
    throw new NetworkError(`${this.#file.url}: ${why}; begun anew`);
  }

  /** Writes what an answer holds, if it goes on with what there is. */
  async #take(response: Response, at: number): Promise<void> {
    const { bytes } = this.#file;
    const watch = this.#watch;
    const version = versionOf(response);
    const range = response.status === 206 ? rangeOf(response) : {};
    const start = response.status === 206 ? (range.start ?? at) : 0;
    const rest = announced(response);
    // The numbers of a range that is packed may be those of the packed file.
    const said = bytes ?? (isPacked(response) ? undefined : range.total);
    if (start !== 0) this.#checkGoesOn(response, at, start, version);
    if (said !== undefined && rest !== undefined && start + rest > said && !this.#file.sha256) {
      throw new NetworkError(`${this.#file.url}: the server announces ${rest} bytes from ${start} of ${said}`);
    }
    const before = version === watch.version ? watch.size : undefined;
    const total = said ?? (rest === undefined ? before : start + rest);
    if (start === 0) {
      this.#checkBudget(total ?? watch.size);
      this.#sink.truncate(0);
      watch.version = version;
      watch.size = total;
      await watch.onVersion(version, total);
    }
    await this.#append(response, total, said !== undefined);
  }

  /** An answer from the middle must begin where the file ends, and be of the same version. */
  #checkGoesOn(response: Response, at: number, start: number, version: Version | undefined): void {
    const { sha256, bytes } = this.#file;
    const { total } = rangeOf(response);
    if (start !== at) this.#drop(`expected bytes from ${at}, got those from ${start}`);
    if (isPacked(response)) {
      this.#ranges = false;
      this.#drop("the server packs ranges");
    }
    if (sha256) return;
    const size = bytes ?? this.#watch.size;
    const isOther = version !== this.#watch.version || (total !== undefined && size !== undefined && total !== size);
    if (isOther) this.#drop("the file is another one now");
  }

  /** A file is begun anew as long as twice its bytes are enough; of unknown length, once. */
  #checkBudget(total: number | undefined): void {
    this.#begun += 1;
    const isEnough = total === undefined ? this.#begun <= 2 : this.#received <= total;
    if (isEnough) return;
    const what = `${this.#received} bytes came, and none that can be gone on with`;
    throw new WebReftError("file", `${this.#file.url}: ${what}; load again`, { retryable: true });
  }

  /** Appends an answer's bytes. A length that only the transfer has is not the file's where the transfer is packed. */
  async #append(response: Response, total: number | undefined, isSure: boolean): Promise<void> {
    const { url, sha256 } = this.#file;
    const sink = this.#sink;
    let at = sink.getSize();
    let end = total;
    for await (const chunk of this.#network.chunks(url, response)) {
      this.#received += chunk.length;
      if (end !== undefined && at + chunk.length > end) {
        if (!isSure) end = undefined;
        else if (!sha256) this.#drop(`expected ${end} bytes, the server sends more`);
      }
      const piece = end === undefined ? chunk : chunk.subarray(0, end - at);
      sink.write(piece, { at });
      const before = at;
      at += piece.length;
      if (before < START && at >= START) this.#checkStart();
      this.#watch.onBytes(at, end ?? 0);
      if (piece.length < chunk.length) return; // the hash tells whether these were the right ones
    }
    if (end !== undefined && at < end) throw new NetworkError(`${url}: cut off at ${at} of ${end} bytes`);
  }

  #checkStart(): void {
    const start = new Uint8Array(START);
    this.#sink.read(start, { at: 0 });
    try {
      checkStart(this.#file, start);
    } catch (error) {
      this.#sink.truncate(0);
      throw error;
    }
  }
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
