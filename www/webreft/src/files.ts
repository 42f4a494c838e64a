/** From a source to files that can be read: the visitor's own, stored ones, or ones that are streamed. */
import { type Reader, Sha256 } from "../wasm/webreft.js";
import { download } from "./download.js";
import { WebReftError } from "./error.js";
import { type Access, Network } from "./network.js";
import type { LoadProgress } from "./protocol.js";
import { blobReader, headerReader, remoteReader } from "./reader.js";
import { findModel, type RemoteModel } from "./remote.js";
import { nameOf, type SourceRequest } from "./source.js";
import { lockOf, ModelStore, type Record } from "./stored.js";

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
  if (source.kind === "files") return work(own(source.files, listener.signal), []);
  const network = new Network(access, listener.signal);
  const warnings: string[] = [];
  const store = cache ? await openStore(warnings) : undefined;
  const name = nameOf(source, access.endpoint);
  const model = (await store?.find(name)) ?? (await findModel(source, network));
  if (!store) return work(await stream(model, network, listener), warnings);
  return alone(model.id, listener, async () => {
    const record = await store.begin(model, name);
    const lack = await lackOfRoom(store, record);
    if (lack) return work(await stream(model, network, listener), [...warnings, lack]);
    await fetchMissing(store, record, network, listener);
    return work(await readers(store, record, listener.signal), warnings);
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
  const store = await openStore([]);
  const record = await store?.find(nameOf(source, access.endpoint));
  const model: RemoteModel = record ?? (await findModel(source, network));
  const described = store && record && (await store.describe(record));
  const isWhole = (index: number) => record?.files[index]?.done ?? false;
  const files = await Promise.all(
    model.files.map(async (file, index) => {
      const whole = isWhole(index) ? await store?.file(record as Record, index) : undefined;
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

/** The folder of stored models; where there is none, a warning. */
async function openStore(warnings: string[]): Promise<ModelStore | undefined> {
  try {
    if (!("locks" in navigator)) throw new WebReftError("unsupported", "this browser has no Web Locks");
    return await ModelStore.open();
  } catch (error) {
    warnings.push(`The model is not stored: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

/** Holds a model's lock for some work; says so if it has to wait for another tab. */
async function alone<Value>(id: string, { signal, tell }: Listener, work: () => Promise<Value>): Promise<Value> {
  const name = lockOf(id);
  const { held = [] } = await navigator.locks.query();
  if (held.some((lock) => lock.name === name)) tell({ phase: "waiting", loaded: 0, total: 0 });
  return navigator.locks.request(name, { signal }, work);
}

/** Why the rest of a model cannot be stored; undefined where it can, or where its size is not known. */
async function lackOfRoom(store: ModelStore, record: Record): Promise<string | undefined> {
  const { bytes, stored } = await store.describe(record);
  const { usage = 0, quota } = await navigator.storage.estimate();
  if (bytes === undefined || quota === undefined || bytes - stored <= quota - usage) return undefined;
  const mb = (n: number) => `${Math.ceil(n / 1e6)} MB`;
  return `The model is not stored: ${mb(bytes - stored)} are wanted, and the browser leaves ${mb(Math.max(quota - usage, 0))}; remove models that are stored`;
}

/** Fetches what is missing of a model, file by file. A large one is checked as soon as its size is known. */
async function fetchMissing(store: ModelStore, record: Record, network: Network, listener: Listener): Promise<void> {
  const { tell } = listener;
  const { files, stored } = await store.describe(record);
  const sizes = record.files.map(({ bytes, done }, i) => (done ? files[i]?.stored : bytes));
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
    if (file.done && files[index]?.stored) continue;
    const before = loaded - (files[index]?.stored ?? 0);
    const sink = await store.sink(record, index);
    const hash = new Sha256();
    try {
      await download(file, sink, hash, network, {
        version: file.version,
        async onVersion(version, bytes) {
          record.files[index] = { ...file, ...(version && { version }), ...(bytes && { bytes }) };
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
      loaded = before + sink.getSize();
    } finally {
      hash.free();
      sink.close();
    }
    record.files[index] = { ...(record.files[index] ?? file), done: true };
    await store.save(record);
  }
}

/** The files of a model that is stored whole. */
function readers(store: ModelStore, record: Record, signal: AbortSignal): Promise<Reader[]> {
  return Promise.all(
    record.files.map(async ({ name }, index) => {
      const file = await store.file(record, index);
      if (!file) throw new WebReftError("file", `${name} is not stored any more`, { retryable: true });
      return blobReader(name, file, signal);
    }),
  );
}

/** The files of a model that is not stored: read in ranges, or fetched whole where a server knows none. */
async function stream({ files }: RemoteModel, network: Network, { tell }: Listener): Promise<Reader[]> {
  const readers: Reader[] = [];
  for (const file of files) {
    readers.push(await remoteReader(file, network, (loaded, total) => tell({ phase: "download", loaded, total })));
  }
  return readers;
}
