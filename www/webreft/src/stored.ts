/** Models in the browser's durable storage: which there are, how far each has come, and how they go. */
import { check, text } from "./checks.js";
import { WebReftError } from "./error.js";
import type { RemoteFile, RemoteModel } from "./remote.js";
import type { Sink } from "./sink.js";
import { space } from "./storage.js";
import { Store } from "./store.js";

/** A model that is stored, or a part of it. */
export interface StoredModel {
  /** What {@link models.remove} wants. */
  id: string;
  /** What it was loaded as: addresses, or `hf:owner/name@revision:Q4_K_M`. */
  sources: string[];
  /** The repository's commit. */
  revision?: string;
  files: StoredFile[];
  /** Bytes in all; undefined while a file's size is not known. */
  bytes?: number;
  /** Bytes that are stored. */
  stored: number;
  /** Whether it loads without a network. */
  complete: boolean;
  /** When it was last loaded. */
  used: Date;
}

/** A file of a stored model. */
export interface StoredFile {
  name: string;
  /** Its size, where it is known. */
  bytes?: number;
  /** Bytes that are stored. */
  stored: number;
}

/** What the browser lets this origin store. */
export interface Room {
  /** Bytes that the origin has stored, models and all else. */
  used: number;
  /** Bytes that it may store yet. */
  free: number;
  /** Bytes that are missing of the models that are stored in part, as far as their sizes are known. */
  needed: number;
  /** Whether the browser keeps them when its disk gets full. */
  persisted: boolean;
}

/** The models that the browser has stored for this origin. */
export const models = {
  /**
   * All of them, those first that were loaded last.
   *
   * @throws {WebReftError} `unsupported` where the browser has no durable storage.
   */
  async list(): Promise<StoredModel[]> {
    const store = await ModelStore.open();
    const stored = await Promise.all((await store.records()).map((record) => store.describe(record)));
    return stored.sort((one, other) => other.used.getTime() - one.used.getTime());
  },

  /**
   * Removes one, complete or not. One that is not there is no harm.
   *
   * @throws {WebReftError} `input`, retryable, while it is being loaded.
   */
  async remove(id: string): Promise<void> {
    check("id", id, text);
    const store = await ModelStore.open();
    await navigator.locks.request(lockOf(id), { ifAvailable: true }, async (lock) => {
      if (!lock) throw new WebReftError("input", `${id} is being loaded: end that first`, { retryable: true });
      await store.remove(id);
    });
  },

  /** How much room there is, and how much the models want that are stored in part. */
  async room(): Promise<Room> {
    const { used, free } = (await space()) ?? { used: 0, free: 0 };
    const stored = await models.list().catch(() => []); // without storage nothing is stored in part
    const missing = stored.map(({ bytes, stored }) => Math.max((bytes ?? stored) - stored, 0));
    const needed = missing.reduce((a, b) => a + b, 0);
    return { used, free, needed, persisted: await navigator.storage.persisted() };
  },

  /** Asks the browser to keep what is stored even when its disk gets full; some ask the visitor. Returns whether it will. */
  persist(): Promise<boolean> {
    return navigator.storage.persist();
  },
};

/** What is remembered of a stored model; written whole each time. */
export interface Record {
  id: string;
  sources: string[];
  revision?: string;
  files: RecordedFile[];
  /** Milliseconds since 1970. */
  used: number;
}

/** What is remembered of a file. */
export interface RecordedFile extends RemoteFile {
  /** The server's version of it that is stored, or a part of that. */
  version?: string;
  /** The size of that version as the server said it; of a file in a listing, `bytes` is surer. */
  announced?: number;
  /** Whether it is whole: of its length, with its hash where one is known, and not found to be damaged since. */
  done: boolean;
}

const FOLDER = "webreft-models";
const RECORD = ".json";

/** The lock that is held while a model is loaded or removed, one for all tabs of an origin. */
export function lockOf(id: string): string {
  return `webreft-model ${id}`;
}

/** The folder of stored models: for each a record, and beside it its files by number. */
export class ModelStore {
  readonly #store: Store;

  private constructor(store: Store) {
    this.#store = store;
  }

  /** @throws {WebReftError} `unsupported` where the browser has no durable storage. */
  static async open(): Promise<ModelStore> {
    return new ModelStore(await Store.open(FOLDER));
  }

  async records(): Promise<Record[]> {
    const names = (await this.#store.list()).filter((name) => name.endsWith(RECORD));
    const records = await Promise.all(names.map((name) => this.#read(name)));
    return records.filter((record) => record !== undefined);
  }

  /** The model that was loaded as this source before. */
  async find(source: string): Promise<Record | undefined> {
    return (await this.records()).find(({ sources }) => sources.includes(source));
  }

  /** The record of a model, which is begun where there is none. */
  async begin(model: RemoteModel, source: string): Promise<Record> {
    const { id, revision } = model;
    const begun = await this.#read((await keyOf(id)) + RECORD);
    const files = model.files.map(unstored);
    const record = begun ?? { id, sources: [], ...(revision && { revision }), files, used: 0 };
    record.sources = [...new Set([...record.sources, source])];
    record.used = Date.now();
    await this.save(record);
    return record;
  }

  async save(record: Record): Promise<void> {
    await this.#store.write((await keyOf(record.id)) + RECORD, new Blob([JSON.stringify(record)]));
  }

  async file(record: Record, index: number): Promise<File | undefined> {
    return this.#store.file(`${await keyOf(record.id)}.${index}`);
  }

  /** A file of a model, to be written. */
  async sink(record: Record, index: number): Promise<Sink> {
    return this.#store.sink(`${await keyOf(record.id)}.${index}`);
  }

  /** Forgets files that turned out to be damaged: they are fetched anew. */
  async forget(record: Record, indices: number[]): Promise<void> {
    for (const index of indices) record.files[index] = unstored(record.files[index] as RecordedFile);
    await this.save(record);
    for (const index of indices) await this.#store.remove(`${await keyOf(record.id)}.${index}`);
  }

  /** The record goes last: until then what is left can be removed again. */
  async remove(id: string): Promise<void> {
    const key = await keyOf(id);
    const names = (await this.#store.list()).filter((name) => name.startsWith(`${key}.`));
    const files = names.filter((name) => !name.endsWith(RECORD));
    for (const name of [...files, key + RECORD]) await this.#store.remove(name);
  }

  /** Whether a file that was stored whole is there with all its bytes, as {@link describe} finds it. */
  static isWhole({ done, bytes, announced }: RecordedFile, { stored }: StoredFile): boolean {
    return done && stored > 0 && stored === (bytes ?? announced ?? stored);
  }

  async describe(record: Record): Promise<StoredModel> {
    const { id, sources, revision, used } = record;
    const stored = await Promise.all(record.files.map(async (_, i) => (await this.file(record, i))?.size ?? 0));
    const files = record.files.map(({ name, bytes, announced }, i) => {
      const size = bytes ?? announced;
      return { name, stored: stored[i] ?? 0, ...(size !== undefined && { bytes: size }) };
    });
    const sum = (sizes: number[]) => sizes.reduce((a, b) => a + b, 0);
    const sizes = files.flatMap(({ bytes }) => bytes ?? []);
    return {
      id,
      sources,
      ...(revision && { revision }),
      files,
      ...(sizes.length === files.length && { bytes: sum(sizes) }),
      stored: sum(stored),
      complete: record.files.every((file, i) => ModelStore.isWhole(file, files[i] as StoredFile)),
      used: new Date(used),
    };
  }

  /** A record that cannot be read is none: its model is fetched anew. */
  async #read(name: string): Promise<Record | undefined> {
    const bytes = await this.#store.read(name);
    try {
      return bytes && JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      return undefined;
    }
  }
}

/** A file as it is recorded before anything of it is stored. */
export function unstored({ name, url, bytes, sha256 }: RemoteFile): RecordedFile {
  return { name, url, ...(bytes !== undefined && { bytes }), ...(sha256 && { sha256 }), done: false };
}

/** A name that any file system takes, whatever the id. */
async function keyOf(id: string): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(id)));
  return Array.from(hash.subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
