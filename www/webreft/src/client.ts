/** The page's side of `protocol.ts`: a worker, and calls on it. The only file that casts. */
import { WebReftError } from "./error.js";
import type { Call, Calls, Reply, Request } from "./protocol.js";

/** A call under way: where its replies go. */
interface Pending {
  item(item: unknown): void;
  done(value: unknown): void;
  fail(error: WebReftError): void;
}

interface CallOptions<C extends Call> {
  signal?: AbortSignal | undefined;
  onItem?: ((item: Calls[C]["streams"]) => void) | undefined;
}

export class Client {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #ended: WebReftError | undefined;

  constructor() {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "webreft" });
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const what = event.message || "its script could not be loaded";
      this.end(new WebReftError("bug", `the webreft worker stopped: ${what}`));
    };
  }

  /** One call, to its result. */
  call<C extends Call>(call: C, takes: Calls[C]["takes"], options: CallOptions<C> = {}): Promise<Calls[C]["returns"]> {
    return new Promise((resolve, reject) => {
      this.#start(call, takes, options.signal, {
        item: (item) => options.onItem?.(item as Calls[C]["streams"]),
        done: (value) => resolve(value as Calls[C]["returns"]),
        fail: reject,
      });
    });
  }

  /**
   * One call as a loop over its items. The worker makes an item only when the loop asks for it. Leaving the loop aborts
   * the call, and returns when the worker has let go of it.
   */
  async *stream<C extends Call>(
    call: C,
    takes: Calls[C]["takes"],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Calls[C]["streams"], Calls[C]["returns"], undefined> {
    const items: Calls[C]["streams"][] = [];
    let outcome: { value: Calls[C]["returns"] } | { error: WebReftError } | undefined;
    let wake = () => {};
    const id = this.#start(call, takes, signal, {
      item: (item) => {
        items.push(item as Calls[C]["streams"]);
        wake();
      },
      done: (value) => {
        outcome = { value: value as Calls[C]["returns"] };
        wake();
      },
      fail: (error) => {
        outcome = { error };
        wake();
      },
    });
    const news = () => new Promise<void>((resolve) => (wake = resolve));
    try {
      for (;;) {
        for (let item = items.shift(); item !== undefined; item = items.shift()) {
          yield item;
          this.#send({ id, call: "more" });
        }
        if (outcome && "error" in outcome) throw outcome.error;
        if (outcome) return outcome.value;
        await news();
      }
    } finally {
      if (!outcome) {
        this.#send({ id, call: "abort", reason: "the loop was left" });
        while (!outcome) await news();
      }
    }
  }

  /** Ends the worker at once, and with it every call, its memory and its GPU device. */
  end(error: WebReftError): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#worker.terminate();
    for (const pending of [...this.#pending.values()]) pending.fail(error);
  }

  #start<C extends Call>(call: C, takes: Calls[C]["takes"], signal: AbortSignal | undefined, pending: Pending): number {
    const id = this.#nextId++;
    const abort = () => this.#send({ id, call: "abort", reason: String(signal?.reason) });
    const settle = () => {
      this.#pending.delete(id);
      signal?.removeEventListener("abort", abort);
    };
    this.#pending.set(id, {
      item: pending.item,
      done: (value) => {
        settle();
        pending.done(value);
      },
      fail: (error) => {
        settle();
        pending.fail(error);
      },
    });
    if (this.#ended) {
      this.#pending.get(id)?.fail(this.#ended);
    } else if (signal?.aborted) {
      const error = new WebReftError("aborted", `aborted: ${signal.reason}`, { cause: signal.reason });
      this.#pending.get(id)?.fail(error);
    } else {
      signal?.addEventListener("abort", abort);
      this.#send({ id, call, takes } as Request);
    }
    return id;
  }

  #send(request: Request): void {
    if (!this.#ended) this.#worker.postMessage(request);
  }

  #receive(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    if (reply.kind === "item") pending?.item(reply.item);
    else if (reply.kind === "done") pending?.done(reply.value);
    else pending?.fail(new WebReftError(reply.error.kind, reply.error.message));
  }
}
