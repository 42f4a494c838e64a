/** GPUs that were compared with the CPU and found to compute a model's shapes rightly, kept in durable storage. */
import { Store } from "./store.js";

const FOLDER = "webreft-gpus";

const decoder = new TextDecoder();

/** What is known of an adapter in this browser. Without durable storage nothing is, and each load compares anew. */
export class Sound {
  readonly #store: Store | undefined;
  readonly #file: string;
  readonly keys: string[];

  private constructor(store: Store | undefined, file: string, keys: string[]) {
    this.#store = store;
    this.#file = file;
    this.keys = keys;
  }

  /** Reads what is known. The browser's version stands for the driver's, which no page can ask for. */
  static async of(adapter: string): Promise<Sound> {
    const file = `${encodeURIComponent(`${adapter} ${navigator.userAgent}`).slice(0, 200)}.json`;
    try {
      const store = await Store.open(FOLDER);
      const bytes = await store.read(file);
      return new Sound(store, file, bytes ? JSON.parse(decoder.decode(bytes)) : []);
    } catch {
      return new Sound(undefined, file, []);
    }
  }

  /** Keeps what the engine knows now. A storage that is full costs a comparison at the next load, and nothing else. */
  async keep(keys: string[]): Promise<void> {
    if (keys.length === this.keys.length) return;
    await this.#store?.write(this.#file, new Blob([JSON.stringify(keys)])).catch(() => undefined);
  }
}
