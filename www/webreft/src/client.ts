/** The page's side of `protocol.ts`: a worker, and calls on it. The only file that casts. */
import { textOf } from "./checks.js";
import { WebReftError } from "./error.js";
import type { Call, Calls, Recovery, Reply, Request } from "./protocol.js";

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

/** Milliseconds from one question whether the worker still answers to the next, and questions without an answer after which it counts as stuck. */
const BEAT = 5_000;
const MOST_UNANSWERED = 6;
/** Milliseconds that the worker has to let go of a call that was aborted. */
const GRACE = 2_000;

/** Workers that have a client, or had one. */
const taken = new WeakSet<Worker>();

/** A worker and the calls on it. */
export class Client {
  /** Hears when the worker's machine is lost, and when it is back. */
  onRecovery: ((recovery: Recovery) => void) | undefined;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #ended: WebReftError | undefined;
  /** Whether anything came from the worker. */
  #isHeard = false;
  #unanswered = 0;
  #beat: ReturnType<typeof setInterval> | undefined;

  /** @throws {WebReftError} `input` for a worker that has a model already, `unsupported` where the page may not start one. */
  constructor(worker = ownWorker()) {
    if (taken.has(worker)) {
      throw new WebReftError("input", "worker: it has a model already, or had one; make a new one for each load");
    }
    taken.add(worker);
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(stopped(event.message, this.#isHeard));
    };
    worker.onmessageerror = () => this.#fail(new WebReftError("bug", "a message of the webreft worker cannot be read"));
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
      if (!settled.outcome) this.#abort(id, "the loop was left");
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

  #fail(error: WebReftError): void {
    this.end(error, error);
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
      to.fail(aborted(signal.reason));
      return id;
    }
    const abort = () => this.#abort(id, signal?.reason);
    const settle = () => {
      this.#pending.delete(id);
      signal?.removeEventListener("abort", abort);
      if (this.#pending.size === 0) this.#rest();
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
    this.#watch();
    try {
      this.#send({ id, call, takes } as Request);
    } catch (error) {
      const what = `${call}: what it was given cannot be sent to the worker: ${error}`;
      this.#pending.get(id)?.fail(new WebReftError("input", what, { cause: error }));
    }
    return id;
  }

  /** Asks the worker to let go of a call, and does not wait long for it. */
  #abort(id: number, reason: unknown): void {
    this.#send({ id, call: "abort", reason: textOf(reason) });
    setTimeout(() => this.#pending.get(id)?.fail(aborted(reason)), GRACE);
  }

  /**
   * Asks the worker from time to time whether it still answers, as long as there are calls. Questions are counted, and not seconds: a page
   * that was frozen has asked none.
   */
  #watch(): void {
    this.#beat ??= setInterval(() => {
      if (this.#unanswered === MOST_UNANSWERED) {
        const seconds = (BEAT * MOST_UNANSWERED) / 1000;
        const what = `the webreft worker has not answered for ${seconds} s and was ended; load the model again`;
        this.#fail(new WebReftError("device", what));
      } else {
        this.#unanswered += 1;
        this.#send({ id: 0, call: "ping" });
      }
    }, BEAT);
  }

  #rest(): void {
    clearInterval(this.#beat);
    this.#beat = undefined;
    this.#unanswered = 0;
  }

  #send(request: Request): void {
    if (!this.#ended) this.#worker.postMessage(request);
  }

  #receive(reply: Reply): void {
    this.#isHeard = true;
    this.#unanswered = 0;
    const pending = this.#pending.get(reply.id);
    switch (reply.kind) {
      case "pong":
        break;
      case "recovery":
        this.onRecovery?.(reply.recovery);
        break;
      case "item":
        pending?.item(reply.item);
        break;
      case "news":
        pending?.news(reply.news);
        break;
      case "done":
        pending?.done(reply.value);
        break;
      case "error": {
        const { kind, message, retryable } = reply.error;
        pending?.fail(new WebReftError(kind, message, retryable === undefined ? {} : { retryable }));
      }
    }
  }
}

/** A worker beside this file. */
function ownWorker(): Worker {
  try {
    return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "webreft" });
  } catch (error) {
    const advice = "serve webreft from the page's own origin and allow it in worker-src, or give a `worker`";
    throw new WebReftError("unsupported", `the webreft worker may not be started here: ${error}; ${advice}`, {
      cause: error,
    });
  }
}

/** Why a worker stopped: without a message its script is not there, or stops before it hears anything. */
function stopped(message: string | undefined, wasHeard: boolean): WebReftError {
  if (message || wasHeard)
    return new WebReftError("bug", `the webreft worker stopped: ${message || "no reason given"}`);
  const advice = "serve its script and what that imports, or give a `worker`";
  return new WebReftError("file", `the webreft worker cannot be loaded; ${advice}`, { retryable: true });
}

function aborted(reason: unknown): WebReftError {
  return new WebReftError("aborted", `aborted: ${textOf(reason)}`, { cause: reason });
}
