/** Trainings that were left in the middle: kept in the browser's durable storage while they go, one for each model. */
import { Store, type TrainStep, type WebReft } from "webreft";
import type { Row } from "./views/examples.js";
import type { Settings } from "./views/settings.js";

/** A training as it was after one of its epochs. */
export interface Unfinished {
  examples: Row[];
  settings: Settings;
  /** What was reported until then. */
  steps: TrainStep[];
  checkpoint: Uint8Array<ArrayBuffer>;
}

const NEWLINE = 10;

/** Where they are kept. Without such storage nothing is, and training goes on as well. */
export class Keeper {
  readonly #store: Promise<Store | undefined> = Store.open("trainings").catch((error) => {
    console.warn(`Trainings are not kept: ${error.message}`);
    return undefined;
  });
  #turn: Promise<unknown> = Promise.resolve();

  /** The training of this model that was left in the middle. */
  find(model: WebReft): Promise<Unfinished | undefined> {
    return this.#inTurn(async (store) => {
      const file = await store.read(nameOf(model));
      return file && unpack(file);
    });
  }

  /** Keeps a training in place of the one before. */
  keep(model: WebReft, unfinished: Unfinished): void {
    const file = pack(unfinished);
    void this.#inTurn((store) => store.write(nameOf(model), file));
  }

  /** Leaves nothing of it. */
  async forget(model: WebReft): Promise<void> {
    await this.#inTurn((store) => store.remove(nameOf(model)));
  }

  /** One thing after the other. What goes wrong is for the console: no training ends for it. */
  #inTurn<Value>(work: (store: Store) => Promise<Value>): Promise<Value | undefined> {
    const done = this.#turn.then(async () => {
      const store = await this.#store;
      return store && work(store);
    });
    const told = done.catch((error) => {
      console.warn(`A training is not kept: ${error.message}`);
      return undefined;
    });
    this.#turn = told;
    return told;
  }
}

/** A model in one quantization: in another one a training would go on a little differently. */
function nameOf({ info }: WebReft): string {
  return [info.fingerprint, ...info.formats].join("-");
}

/** A line of JSON, then the checkpoint: one file, so that both are of the same step. */
function pack({ checkpoint, ...rest }: Unfinished): Blob {
  return new Blob([`${JSON.stringify(rest)}\n`, checkpoint]);
}

function unpack(file: Uint8Array<ArrayBuffer>): Unfinished {
  const end = file.indexOf(NEWLINE);
  const rest = JSON.parse(new TextDecoder().decode(file.subarray(0, end)));
  return { ...rest, checkpoint: file.slice(end + 1) };
}
