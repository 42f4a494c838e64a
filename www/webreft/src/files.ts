/** From a source to files that can be read: the visitor's own, stored ones, or ones that are streamed. */
import { type Reader, Sha256 } from "../wasm/webreft.js";
import { download } from "./download.js";
import { WebReftError } from "./error.js";
import { type Access, Network } from "./network.js";
import type { LoadProgress } from "./protocol.js";
import { blobReader, headerReader, remoteReader } from "./reader.js";
import { findModel, type RemoteModel } from "./remote.js";
import type { Sink } from "./sink.js";
import { nameOf, type SourceRequest } from "./source.js";
import { roomFor, StorageError, space } from "./storage.js";
import { lockOf, ModelStore, type Record, type StoredFile, unstored } from "./stored.js";

/** How a source is opened. */
export interface Opening {
  source: SourceRequest;
  /** Whether what comes from the network is stored. */
  cache: boolean;
  access: Access;
}

/** Who hears of the opening, and may end it. */
export interface Listener {
  signal: AbortSignal;
  tell(progress: LoadProgress): void;
  /** Refuses a large model by its headers, before it is fetched. */
  check(headers: Reader[]): Promise<void>;
}

/** What is done with the files, and what to tell the visitor about how they came. */
export type Work<Value> = (files: Reader[], warnings: string[]) => Promise<Value>;

/** Milliseconds between two reports of a download. */
const REPORT = 50;
/** Bytes of a stored file that are hashed at a time. */
const PIECE = 4 << 20;
/** Bytes of a model that are fetched without asking its headers first whether it can be loaded. */
const UNASKED = 2 ** 30;

/**
 * Opens a model's files for some work. What comes from the network is stored first, and no other tab loads it meanwhile;
 * where it cannot be stored, a warning says why, and it is read in ranges.
 *
 * @throws {WebReftError} `file` for what cannot be read, `input` for what a repository does not have, `aborted`.
 */
export async function withFiles<Value>(opening: Opening, listener: Listener, work: Work<Value>): Promise<Value> {
  const { source, cache, access } = opening;
  const { signal } = listener;
  if (source.kind === "files") return work(own(source.files, signal), []);
  const network = new Network(access, signal);
  const warnings: string[] = [];
  const name = nameOf(source, access.endpoint);
  const { store, record } = cache ? await lookUp(name, warnings) : {};
  const model = record ?? (await findModel(source, network));
  if (!store) return work(await stream(model, network, listener), warnings);
  return alone(model.id, listener, async () => {
    const stored = await fill(store, model, name, network, listener).catch(notStored);
    if (typeof stored === "string") return work(await stream(model, network, listener), [...warnings, stored]);
    try {
      return await work(stored.readers, warnings);
    } catch (error) {
      throw await judge(error, store, stored.record, signal);
    }
  });
}

/** A file of a model, and how much of it is stored. */
export interface FileFacts {
  name: string;
  /** Its size. */
  bytes: number;
  /** Bytes of it that are stored. */
  stored: number;
}

/** Opens a model's files to read their headers. Nothing is stored; what is stored already is not fetched. */
export async function withHeaders<Value>(
  { source, access }: Opening,
  signal: AbortSignal,
  work: (files: Reader[], facts: FileFacts[], revision: string | undefined) => Promise<Value>,
): Promise<Value> {
  if (source.kind === "files") {
    const files = own(source.files, signal);
    return work(
      files,
      files.map(({ name, length }) => ({ name, bytes: length, stored: length })),
      undefined,
    );
  }
  const network = new Network(access, signal);
  const { store, record } = await lookUp(nameOf(source, access.endpoint), []);
  const model: RemoteModel = record ?? (await findModel(source, network));
  const described = store && record && (await store.describe(record));
  const files = await Promise.all(
    model.files.map(async (file, index) => {
      const recorded = record?.files[index];
      const isWhole = recorded && ModelStore.isWhole(recorded, described?.files[index] as StoredFile);
      const whole = isWhole ? await store?.file(record as Record, index) : undefined;
      return whole ? blobReader(file.name, whole, signal) : headerReader(file, network);
    }),
  );
  const stored = (index: number) => described?.files[index]?.stored ?? 0;
  return work(
    files,
    files.map(({ name, length }, i) => ({ name, bytes: length, stored: stored(i) })),
    model.revision,
  );
}

function own(files: { name: string; blob: Blob }[], signal: AbortSignal): Reader[] {
  const inOrder = [...files].sort((one, other) => (one.name < other.name ? -1 : 1));
  return inOrder.map(({ name, blob }) => blobReader(name, blob, signal));
}

/** The folder of stored models, and the one that was loaded as this source before; where there is no folder, a warning. */
async function lookUp(source: string, warnings: string[]): Promise<{ store?: ModelStore; record?: Record }> {
  try {
    const store = await ModelStore.open();
    const record = await store.find(source);
    return { store, ...(record && { record }) };
  } catch (error) {
    warnings.push(`The model is not stored: ${error instanceof Error ? error.message : error}`);
    return {};
  }
}

/** What to tell the visitor where storage has failed; the model is read without it. */
function notStored(error: unknown): string {
  if (error instanceof StorageError) return `The model is not stored: ${error.message}`;
  throw error;
}

/** Holds a model's lock for some work; says so if it has to wait for another tab. */
async function alone<Value>(id: string, { signal, tell }: Listener, work: () => Promise<Value>): Promise<Value> {
  const name = lockOf(id);
  const { held = [] } = await navigator.locks.query();
  if (held.some((lock) => lock.name === name)) tell({ phase: "waiting", loaded: 0, total: 0 });
  return navigator.locks.request(name, { signal }, work);
}

/**
 * Stores what is missing of a model, and opens its files.
 *
 * @throws {StorageError} where it cannot be stored: what there is stays, and is gone on with another time.
 */
async function fill(
  store: ModelStore,
  model: RemoteModel,
  name: string,
  network: Network,
  listener: Listener,
): Promise<{ record: Record; readers: Reader[] }> {
  const record = await store.begin(model, name);
  const what = record.files[0]?.name ?? record.id;
  try {
    if (await lacksRoom(store, record)) throw new StorageError(what, "the quota is too small", true);
    await fetchMissing(store, record, network, listener);
    return { record, readers: await readers(store, record, listener.signal) };
  } catch (error) {
    if (!(error instanceof StorageError && error.isFull)) throw error;
    const advice = `${await roomFor(await missing(store, record))}; remove models that are stored`;
    throw new StorageError(what, `there is no room: ${advice}`, true);
  }
}

/** Bytes of a model that are not stored, as far as its size is known. */
async function missing(store: ModelStore, record: Record): Promise<number> {
  const { files } = await store.describe(record);
  return files.reduce((sum, { bytes = 0, stored }) => sum + Math.max(bytes - stored, 0), 0);
}

/** Whether the browser says that it leaves too little for the rest of a model. */
async function lacksRoom(store: ModelStore, record: Record): Promise<boolean> {
  const there = await space();
  return there !== undefined && (await missing(store, record)) > there.free;
}

/** Fetches what is missing of a model, file by file. A large one is checked as soon as its size is known. */
async function fetchMissing(store: ModelStore, record: Record, network: Network, listener: Listener): Promise<void> {
  const { tell } = listener;
  const { files, stored } = await store.describe(record);
  const sizes = files.map(({ bytes }) => bytes);
  let loaded = stored;
  let reported = 0;
  let checked = false;
  const check = async () => {
    if (checked) return;
    await listener.check(await Promise.all(record.files.map((file) => headerReader(file, network))));
    checked = true;
  };
  const sum = () => sizes.reduce((sum: number, size) => sum + (size ?? 0), 0);
  const report = (phase: "download" | "verify", loaded: number, total: number) => {
    if (performance.now() - reported < REPORT && loaded !== total) return;
    reported = performance.now();
    tell({ phase, loaded, total });
  };
  for (const [index, file] of record.files.entries()) {
    const there = files[index] as StoredFile;
    if (ModelStore.isWhole(file, there)) continue;
    const before = loaded - there.stored;
    const size = await withSink(store, record, index, async (sink, hash) => {
      await download(file, sink, hash, network, {
        version: file.version,
        size: file.announced,
        async onVersion(version, bytes) {
          const said = { ...(version && { version }), ...(bytes !== undefined && { announced: bytes }) };
          record.files[index] = { ...unstored(file), ...said };
          await store.save(record);
          sizes[index] = bytes;
          if (sum() > UNASKED) await check();
        },
        onBytes(got, size) {
          sizes[index] = size || undefined;
          const total = sizes.every((size) => size !== undefined) ? sum() : 0;
          loaded = before + got;
          report("download", loaded, total);
        },
        onVerify: (done, total) => report("verify", done, total),
      });
      return sink.getSize();
    });
    loaded = before + size;
    record.files[index] = { ...(record.files[index] ?? file), announced: size, done: true };
    await store.save(record);
  }
}

/** Opens a file of a model to be written, and closes it whatever happens. */
async function withSink<Value>(
  store: ModelStore,
  record: Record,
  index: number,
  work: (sink: Sink, hash: Sha256) => Promise<Value>,
): Promise<Value> {
  const sink = await store.sink(record, index);
  const hash = new Sha256();
  try {
    return await work(sink, hash);
  } finally {
    hash.free();
    sink.close();
  }
}

/** The files of a model that is stored whole. */
function readers(store: ModelStore, record: Record, signal: AbortSignal): Promise<Reader[]> {
  return Promise.all(record.files.map((_, index) => storedReader(store, record, index, signal)));
}

async function storedReader(store: ModelStore, record: Record, index: number, signal: AbortSignal): Promise<Reader> {
  const name = record.files[index]?.name ?? "";
  const file = await store.file(record, index);
  if (!file) throw new StorageError(name, "it is not stored any more");
  return blobReader(name, file, signal);
}

/**
 * What to do about an error that stored files have led to. Where they may be damaged, which a right hash rules out, they are removed, and the
 * next load fetches them again.
 */
async function judge(error: unknown, store: ModelStore, record: Record, signal: AbortSignal): Promise<unknown> {
  const { kind, message, retryable } = error as Partial<WebReftError>;
  if (kind !== "file" || retryable) return error;
  const damaged = await forgetDamaged(store, record, signal);
  const remove = `WebReft.models.remove(${JSON.stringify(record.id)})`;
  if (damaged.length === 0) {
    const what = `the file is the one that its server has, by its SHA-256; ${remove} removes it`;
    return new WebReftError("file", `${message}; ${what}`, { cause: error });
  }
  const what = `${damaged.join(", ")}: removed, load again to fetch it anew; ${remove} removes all that is stored of the model`;
  return new WebReftError("file", `${message}; ${what}`, { cause: error, retryable: true });
}

/** Removes those of a model's stored files that have no hash or another one by now. Returns their names. */
async function forgetDamaged(store: ModelStore, record: Record, signal: AbortSignal): Promise<string[]> {
  const damaged = [];
  for (const [index, { sha256 }] of record.files.entries()) {
    const isRight = sha256 && sha256 === (await hashOf(await storedReader(store, record, index, signal)));
    if (!isRight) damaged.push(index);
  }
  if (damaged.length > 0) await store.forget(record, damaged);
  return damaged.map((index) => record.files[index]?.name ?? "");
}

async function hashOf({ length, read }: Reader): Promise<string> {
  const hash = new Sha256();
  try {
    for (let at = 0; at < length; at += PIECE) hash.update(await read(at, Math.min(PIECE, length - at)));
    return hash.finish();
  } finally {
    hash.free();
  }
}

/** The files of a model that is not stored: read in ranges, or fetched whole where a server knows none. */
async function stream({ files }: RemoteModel, network: Network, { tell }: Listener): Promise<Reader[]> {
  const readers: Reader[] = [];
  for (const file of files) {
    readers.push(await remoteReader(file, network, (loaded, total) => tell({ phase: "download", loaded, total })));
  }
  return readers;
}
