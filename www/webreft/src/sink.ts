/** A file that is written where it lies. */
import { StorageError } from "./storage.js";

/** What of the browser's `FileSystemSyncAccessHandle` is used. One worker has a file's at a time. */
export interface Sink {
  getSize(): number;
  read(bytes: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  write(bytes: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

/** A file whose every failure is a {@link StorageError}, a write that stores less than it was given among them. */
export class CheckedSink implements Sink {
  readonly #name: string;
  readonly #handle: Sink;

  constructor(name: string, handle: Sink) {
    this.#name = name;
    this.#handle = handle;
  }

  getSize(): number {
    return this.#checked(() => this.#handle.getSize());
  }

  read(bytes: Uint8Array<ArrayBuffer>, options: { at: number }): number {
    const read = this.#checked(() => this.#handle.read(bytes, options));
    if (read <= bytes.length) return read;
    throw new StorageError(this.#name, `reading ${bytes.length} bytes at ${options.at} failed`);
  }

  /** Writes all of it. What a write that failed has left behind its beginning is cut off again. */
  write(bytes: Uint8Array<ArrayBuffer>, options: { at: number }): number {
    try {
      const written = this.#checked(() => this.#handle.write(bytes, options));
      if (written === bytes.length) return written;
    } catch (error) {
      this.truncate(options.at);
      throw error;
    }
    this.truncate(options.at);
    // Where there is no room Chromium gives a negative count, as a large number.
    throw new StorageError(this.#name, `a write of ${bytes.length} bytes stored less: no room`, true);
  }

  truncate(size: number): void {
    this.#checked(() => this.#handle.truncate(size));
  }

  flush(): void {
    this.#checked(() => this.#handle.flush());
  }

  close(): void {
    this.#checked(() => this.#handle.close());
  }

  #checked<Value>(work: () => Value): Value {
    try {
      return work();
    } catch (error) {
      throw new StorageError(this.#name, error);
    }
  }
}
