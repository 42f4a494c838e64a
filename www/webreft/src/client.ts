/** The page's side of `protocol.ts`: a worker, and calls on it. The only file that casts. */
import { WebReftError } from "./error.js";
import type { Call, Calls, Reply, Request } from "./protocol.js";

/** How a call is ended, and who hears its news. */
export interface Listening<C extends Call> {
  signal?: AbortSignal | undefined;
  news?: ((news: Calls[C]["tells"]) => void) | undefined;
}

/** A call under way: where its replies go. */
interface Pending {
  item(item: unknown): void;
  news(news: unknown): void;
  done(value: unknown): void;
  fail(error: WebReftError): void;
}

type Outcome<Value> = { value: Value } | { error: WebReftError };

/** A worker and the calls on it. */
export class Client {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #ended: WebReftError | undefined;

  constructor(worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "webreft" })) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      const error = new WebReftError("bug", `the webreft worker stopped: ${event.message || "could not start"}`);
      this.end(error, error);
    };
  }

  /** One call, to its result. */
  call<C extends Call>(call: C, takes: Calls[C]["takes"], listening: Listening<C> = {}): Promise<Calls[C]["returns"]> {
    return new Promise((resolve, reject) => {
      this.#start(call, takes, listening, {
        item: () => {},
        done: (value) => resolve(value as Calls[C]["returns"]),
        fail: reject,
      });
    });
  }

  /**
   * One call as a loop over its items. The worker makes an item only when the loop asks for it. Leaving the loop
   * aborts the call, and returns when the worker has let go of it.
   */
  async *stream<C extends Call>(
    call: C,
    takes: Calls[C]["takes"],
    listening: Listening<C> = {},
  ): AsyncGenerator<Calls[C]["streams"], void, undefined> {
    const items: Calls[C]["streams"][] = [];
    let wake = () => {};
    const settled: { outcome?: Outcome<unknown> } = {};
    const id = this.#start(call, takes, listening, {
      item: (item) => {
        items.push(item as Calls[C]["streams"]);
        wake();
      },
      done: (value) => {
        settled.outcome = { value };
        wake();
      },
      fail: (error) => {
        settled.outcome = { error };
        wake();
      },
    });
    const news = () =>
      new Promise<void>((resolve) => {
        wake = resolve;
      });
    try {
      for (;;) {
        const item = items.shift();
        if (item !== undefined) {
          yield item;
          this.#send({ id, call: "more" });
        } else if (settled.outcome) {
          if ("error" in settled.outcome) throw settled.outcome.error;
          return;
        } else {
          await news();
        }
      }
    } finally {
      if (!settled.outcome) this.#send({ id, call: "abort", reason: "the loop was left" });
      while (!settled.outcome) await news();
    }
  }

  /**
   * Ends the worker at once, and with it its memory and its GPU device. Calls under way fail with `now`, calls made
   * later with `later`.
   */
  end(now: WebReftError, later: WebReftError): void {
    if (this.#ended) return;
    this.#ended = later;
    this.#worker.terminate();
    for (const pending of [...this.#pending.values()]) pending.fail(now);
  }

  #start<C extends Call>(
    call: C,
    takes: Calls[C]["takes"],
    { signal, news }: Listening<C>,
    to: Omit<Pending, "news">,
  ): number {
    const id = this.#nextId++;
    if (this.#ended) {
      to.fail(this.#ended);
      return id;
    }
    if (signal?.aborted) {
      to.fail(new WebReftError("aborted", `aborted: ${signal.reason}`, { cause: signal.reason }));
      return id;
    }
    const abort = () => this.#send({ id, call: "abort", reason: String(signal?.reason) });
    const settle = () => {
      this.#pending.delete(id);
      signal?.removeEventListener("abort", abort);
    };
    signal?.addEventListener("abort", abort);
    this.#pending.set(id, {
      item: to.item,
      news: (told) => news?.(told as Calls[C]["tells"]),
      done: (value) => {
        settle();
        to.done(value);
      },
      fail: (error) => {
        settle();
        if (error.kind === "aborted" && signal?.aborted) error.cause = signal.reason;
        to.fail(error);
      },
    });
    this.#send({ id, call, takes } as Request);
    return id;
  }

  #send(request: Request): void {
    if (!this.#ended) this.#worker.postMessage(request);
  }

  #receive(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    if (reply.kind === "item") {
      pending?.item(reply.item);
    } else if (reply.kind === "news") {
      pending?.news(reply.news);
    } else if (reply.kind === "done") {
      pending?.done(reply.value);
    } else {
      const { kind, message, retryable } = reply.error;
      pending?.fail(new WebReftError(kind, message, retryable === undefined ? {} : { retryable }));
    }
  }
}
