/** Files in the browser's durable storage: checkpoints, saved interventions, models. */
import { type Check, check, isPlatform, text, view } from "./checks.js";
import { WebReftError } from "./error.js";

/** A file that is written where it lies, by one worker at a time: what of the browser's `FileSystemSyncAccessHandle` is used. */
export interface Sink {
  getSize(): number;
  read(bytes: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  write(bytes: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

/** The name of a file in a folder of the browser's storage. */
const fileName: Check<string> = (value, at) => {
  const given: string = text(value, at);
  if (given.length > 255 || /^\.{0,2}$|[/\\\0]/.test(given)) {
    throw at.wrong("a file's name of 1 to 255 characters without / and \\", given);
  }
  return given;
};

/** What a file is written from. */
const content: Check<Blob | Uint8Array<ArrayBuffer>> = (value, at) =>
  isPlatform("Blob", value) ? (value as Blob) : view(value, at);

/** A folder in the page's own file system (OPFS): its files outlive the page and the browser. */
export class Store {
  readonly #folder: FileSystemDirectoryHandle;

  private constructor(folder: FileSystemDirectoryHandle) {
    this.#folder = folder;
  }

  /**
   * Opens a folder, and makes it where there is none.
   *
   * @throws {WebReftError} `unsupported` where the browser has no such storage, or does not let this page use it.
   */
  static async open(name: string): Promise<Store> {
    check("name", name, fileName);
    try {
      const root = await navigator.storage.getDirectory();
      return new Store(await root.getDirectoryHandle(name, { create: true }));
    } catch (error) {
      throw new WebReftError("unsupported", `durable storage: ${error}`, { cause: error });
    }
  }

  /** The names of the files, in alphabetical order. */
  list(): Promise<string[]> {
    return told("its files", async () => {
      const names = [];
      for await (const name of this.#folder.keys()) names.push(name);
      return names.sort();
    });
  }

  /** A file's bytes; undefined if there is none of this name, or its first writing was cut off, which leaves it empty. */
  async read(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    check("name", name, fileName);
    return told(name, async () => {
      const handle = await absent(this.#folder.getFileHandle(name));
      const bytes = handle && new Uint8Array(await (await handle.getFile()).arrayBuffer());
      return bytes?.length ? bytes : undefined;
    });
  }

  /** A file that is read in parts; undefined if there is none of this name. */
  async file(name: string): Promise<File | undefined> {
    check("name", name, fileName);
    return told(name, async () => (await absent(this.#folder.getFileHandle(name)))?.getFile());
  }

  /**
   * Opens a file to be written in place, and makes it where there is none. Only in a worker.
   *
   * @internal
   * @throws {WebReftError} `file`, retryable, while somebody else writes it.
   */
  sink(name: string): Promise<Sink> {
    return told(name, async () => {
      const handle = await this.#folder.getFileHandle(name, { create: true });
      return (handle as FileSystemFileHandle & { createSyncAccessHandle(): Promise<Sink> }).createSyncAccessHandle();
    });
  }

  /** Writes a file whole, or not at all: a page that is closed meanwhile leaves the old one. */
  async write(name: string, bytes: Blob | Uint8Array<ArrayBuffer>): Promise<void> {
    check("name", name, fileName);
    const checked = check("bytes", bytes, content);
    return told(name, async () => {
      const handle = await this.#folder.getFileHandle(name, { create: true });
      const file = await handle.createWritable();
      await file.write(checked);
      await file.close();
    });
  }

  /** Removes a file. One that is not there is no harm. */
  async remove(name: string): Promise<void> {
    check("name", name, fileName);
    return told(name, async () => {
      await absent(this.#folder.removeEntry(name));
    });
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

/** What the file system throws as this package's error; a full disk can be emptied. */
async function told<Value>(what: string, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    throw new WebReftError("file", `durable storage, ${what}: ${error}`, { cause: error, retryable: true });
  }
}
