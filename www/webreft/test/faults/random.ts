/** What tests draw by a seed. */
import { randomOf } from "../../../random.mjs";

export class Random {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = randomOf(seed);
  }

  /** A whole number from 0, less than a limit. */
  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  one<Value>(values: readonly Value[]): Value {
    return values[this.below(values.length)] as Value;
  }

  bytes(count: number): Uint8Array<ArrayBuffer> {
    const words = Uint32Array.from({ length: Math.ceil(count / 4) }, () => this.#next() * 2 ** 32);
    return new Uint8Array(words.buffer, 0, count);
  }
}
