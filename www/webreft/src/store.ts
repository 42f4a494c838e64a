/** Files in the browser's durable storage: checkpoints, saved interventions, models. */
import { type Check, check, isPlatform, text, view } from "./checks.js";
import { WebReftError } from "./error.js";
import { CheckedSink, type Sink } from "./sink.js";
import { roomFor, StorageError } from "./storage.js";

/** How the names of the files end that Chromium writes before it puts them in the place of others. */
const SWAP = ".crswap";

/** The name of a file in a folder of the browser's storage. */
const fileName: Check<string> = (value, at) => {
  const given: string = text(value, at);
  if (given.length > 255 || /^\.{0,2}$|[/\\\0]/.test(given)) {
    throw at.wrong("a file's name of 1 to 255 characters without / and \\", given);
  }
  if (given.endsWith(SWAP)) throw at.wrong(`a name that does not end in ${SWAP}, which are the browser's own`, given);
  return given;
};

/** What a file is written from. */
const content: Check<Blob | Uint8Array<ArrayBuffer>> = (value, at) =>
  isPlatform("Blob", value) ? (value as Blob) : view(value, at);

/** A folder in the page's own file system (OPFS): its files outlive the page and the browser. */
export class Store {
  readonly #folder: FileSystemDirectoryHandle;
  /** Held while a file is written, and shared while one is read, by all tabs: what is asked for first is done first. */
  readonly #lock: string;

  private constructor(folder: FileSystemDirectoryHandle) {
    this.#folder = folder;
    this.#lock = `webreft-store ${folder.name}`;
  }

  /**
   * Opens a folder, and makes it where there is none.
   *
   * @throws {WebReftError} `unsupported` where the browser has no such storage, or does not let this page use it.
   */
  static async open(name: string): Promise<Store> {
    check("name", name, fileName);
    try {
      if (!("locks" in navigator)) throw new Error("this browser has no Web Locks");
      const root = await navigator.storage.getDirectory();
      const store = new Store(await root.getDirectoryHandle(name, { create: true }));
      await store.#sweep();
      return store;
    } catch (error) {
      throw new WebReftError("unsupported", `durable storage: ${error}`, { cause: error });
    }
  }

  /** The names of the files, in alphabetical order. */
  list(): Promise<string[]> {
    return this.#reading("its files", async () => {
      const names = [];
      for await (const name of this.#folder.keys()) if (!name.endsWith(SWAP)) names.push(name);
      return names.sort();
    });
  }

  /** A file's bytes; undefined if there is none of this name, or its first writing was cut off, which leaves it empty. */
  async read(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    check("name", name, fileName);
    return this.#reading(name, async () => {
      const handle = await absent(this.#folder.getFileHandle(name));
      const bytes = handle && new Uint8Array(await (await handle.getFile()).arrayBuffer());
      return bytes?.length ? bytes : undefined;
    });
  }

  /** A file that is read in parts; undefined if there is none of this name. Once it is written anew it cannot be read on. */
  async file(name: string): Promise<File | undefined> {
    check("name", name, fileName);
    return this.#reading(name, async () => (await absent(this.#folder.getFileHandle(name)))?.getFile());
  }

  /**
   * Opens a file to be written in place, and makes it where there is none. Only in a worker.
   *
   * @internal
   * @throws {WebReftError} `file`, retryable, while somebody else writes it.
   */
  async sink(name: string): Promise<Sink> {
    const handle = await told(name, async () => {
      const handle = await this.#folder.getFileHandle(name, { create: true });
      return (handle as FileSystemFileHandle & { createSyncAccessHandle(): Promise<Sink> }).createSyncAccessHandle();
    });
    return new CheckedSink(name, handle);
  }

  /**
   * Writes a file whole, or not at all: a page that is closed meanwhile leaves the old one. Of several writes the one that was asked for
   * last is last.
   *
   * @throws {WebReftError} `file`, retryable, where there is no room: the message says what is needed and what is free.
   */
  async write(name: string, bytes: Blob | Uint8Array<ArrayBuffer>): Promise<void> {
    check("name", name, fileName);
    const checked = check("bytes", bytes, content);
    const whole = checked instanceof Blob ? checked : new Blob([checked]);
    try {
      await this.#writing(name, () => this.#replace(name, whole));
    } catch (error) {
      if (!(error instanceof StorageError && error.isFull)) throw error;
      const advice = `${await roomFor(whole.size)}; remove what is stored`;
      throw new StorageError(name, `there is no room: ${advice}`, true);
    }
  }

  /** Removes a file. One that is not there is no harm. */
  async remove(name: string): Promise<void> {
    check("name", name, fileName);
    return this.#writing(name, async () => {
      await absent(this.#folder.removeEntry(name));
    });
  }

  /** Puts bytes in a file's place. Where that fails, a file that was not there before is not there after. */
  async #replace(name: string, bytes: Blob): Promise<void> {
    const handle = await this.#folder.getFileHandle(name, { create: true });
    try {
      const file = await handle.createWritable();
      try {
        await file.write(bytes);
        await file.close();
      } catch (error) {
        await file.abort().catch(() => {});
        throw error;
      }
    } catch (error) {
      await this.#removeEmpty(handle).catch(() => {}); // the first error says more
      throw error;
    }
  }

  async #removeEmpty(handle: FileSystemFileHandle): Promise<void> {
    const { size } = await handle.getFile();
    if (size === 0) await this.#folder.removeEntry(handle.name);
  }

  /** Removes what writers left that were closed, unless somebody writes. */
  async #sweep(): Promise<void> {
    await navigator.locks.request(this.#lock, { ifAvailable: true }, async (lock) => {
      if (!lock) return;
      const names = [];
      for await (const name of this.#folder.keys()) if (name.endsWith(SWAP)) names.push(name);
      // The next opening tries again.
      for (const name of names) await this.#folder.removeEntry(name).catch(() => {});
    });
  }

  #reading<Value>(what: string, work: () => Promise<Value>): Promise<Value> {
    return told(what, () => navigator.locks.request(this.#lock, { mode: "shared" }, work));
  }

  #writing<Value>(what: string, work: () => Promise<Value>): Promise<Value> {
    return told(what, () => navigator.locks.request(this.#lock, work));
  }
}

/** Undefined for a file that is not there. */
async function absent<Value>(file: Promise<Value>): Promise<Value | undefined> {
  try {
    return await file;
  } catch (error) {
    if (error instanceof DOMException && error.name === "NotFoundError") return undefined;
    throw error;
  }
}

/** What the file system throws as this package's error. */
async function told<Value>(what: string, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    throw new StorageError(what, error);
  }
}
