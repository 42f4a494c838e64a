/** Callbacks of the caller's, which may throw: their call then ends, and fails with what they threw. */
import { textOf } from "./checks.js";
import { WebReftError } from "./error.js";

/** The callbacks of one call. */
export class Callbacks {
  readonly #controller = new AbortController();
  readonly #given: AbortSignal | undefined;
  readonly #abort = () => this.#controller.abort(this.#given?.reason);
  #failure: WebReftError | undefined;
  #over = false;

  constructor(given: AbortSignal | undefined) {
    this.#given = given;
    if (given?.aborted) this.#abort();
    given?.addEventListener("abort", this.#abort);
  }

  /** Aborted by the caller's signal, or because a callback threw. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** A callback that never throws. After one threw, none is called. */
  of<Told>(name: string, callback: ((told: Told) => unknown) | undefined): (told: Told) => void {
    return async (told) => {
      if (this.#failure) return;
      try {
        await callback?.(told);
      } catch (cause) {
        if (this.#over) throw cause;
        this.#failure ??= new WebReftError("input", `options.${name} threw ${textOf(cause)}`, { cause });
        this.#controller.abort(this.#failure);
      }
    };
  }

  /** The call's result, or what a callback threw. */
  async call<Value>(work: Promise<Value>): Promise<Value> {
    try {
      const value = await work;
      if (this.#failure) throw this.#failure;
      return value;
    } catch (error) {
      throw this.#failure ?? error;
    } finally {
      this.#end();
    }
  }

  /** The call's items, or what a callback threw. */
  async *stream<Item>(items: AsyncGenerator<Item, void, undefined>): AsyncGenerator<Item, void, undefined> {
    try {
      yield* items;
      if (this.#failure) throw this.#failure;
    } catch (error) {
      throw this.#failure ?? error;
    } finally {
      this.#end();
    }
  }

  #end(): void {
    this.#over = true;
    this.#given?.removeEventListener("abort", this.#abort);
  }
}
