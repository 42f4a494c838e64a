/** Requests as this package makes them: with the caller's signal, the token where it belongs, and errors that say what to do. */
import { WebReftError } from "./error.js";
import { pause } from "./pause.js";

/** How the Hub is reached. */
export interface Access {
  /** The Hub's address. */
  endpoint: string;
  /** Sent to the endpoint's own origin, and to no other. */
  token?: string;
}

/** How long is waited, in milliseconds. */
export interface Patience {
  /** Without a byte, until a connection counts as dropped. */
  silence: number;
  /** Before each new try. */
  waits: readonly number[];
}

const PATIENCE: Patience = { silence: 30_000, waits: [500, 1000, 2000, 4000] };

/** A failure on the way from the server. Those that are retryable are tried again, see {@link Network.patiently}. */
export class NetworkError extends WebReftError {
  constructor(message: string, { cause, retryable = true }: ErrorOptions & { retryable?: boolean } = {}) {
    super("file", message, { cause, retryable });
  }
}

/** The network, for one call. */
export class Network {
  readonly access: Access;
  readonly signal: AbortSignal;
  readonly #patience: Patience;

  constructor(access: Access, signal: AbortSignal, patience = PATIENCE) {
    this.access = access;
    this.signal = signal;
    this.#patience = patience;
  }

  /**
   * Tries again where the network fails, after longer and longer waits. Where more was got than ever before, they begin anew.
   *
   * @throws {WebReftError} the last try's, and at once what is no {@link NetworkError}, or none that may pass.
   */
  async patiently<Value>(work: () => Promise<Value>, got = () => 0): Promise<Value> {
    let best = got();
    for (let failures = 0; ; ) {
      try {
        return await work();
      } catch (error) {
        this.signal.throwIfAborted();
        if (!(error instanceof NetworkError && error.retryable)) throw error;
        if (got() > best) failures = 0;
        best = Math.max(best, got());
        const wait = this.#patience.waits[failures++];
        if (wait === undefined) throw error;
        await this.pause(wait);
      }
    }
  }

  /**
   * Asks for an address. A status that is no success is no error here.
   *
   * @throws {WebReftError} `file`, retryable, where no answer comes.
   */
  fetch(url: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    const { endpoint, token } = this.access;
    if (token && new URL(url).origin === new URL(endpoint).origin) headers.set("Authorization", `Bearer ${token}`);
    return this.guard(url, (signal) => fetch(url, { ...init, headers, signal }));
  }

  /**
   * Asks for an address, and takes nothing but a success.
   *
   * @throws {WebReftError} `file` with the status, retryable where the server may do better later.
   */
  async get(url: string, init: RequestInit = {}): Promise<Response> {
    const response = await this.fetch(url, init);
    if (!response.ok) throw refused(url, response);
    return response;
  }

  /** The bytes of an answer, as they come. */
  async *chunks(url: string, response: Response): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    const reader = response.body?.getReader();
    if (!reader) return;
    try {
      for (;;) {
        const { done, value } = await this.guard(url, () => reader.read());
        if (done) return;
        yield value;
      }
    } finally {
      reader.cancel().catch(() => {}); // it may have failed already; nothing of it is wanted any more
    }
  }

  /** Turns what the network throws, and its silence, into this package's error; an abort stays what the caller said. */
  async guard<Value>(url: string, work: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
    this.signal.throwIfAborted();
    const silence = new AbortController();
    const signal = AbortSignal.any([this.signal, silence.signal]);
    const { silence: ms } = this.#patience;
    const timer = setTimeout(() => silence.abort(new Error(`nothing came for ${ms / 1000} s`)), ms);
    let end = () => {};
    const ended = new Promise<never>((_, reject) => {
      end = () => reject(signal.reason);
      signal.addEventListener("abort", end);
    });
    try {
      return await Promise.race([work(signal), ended]);
    } catch (error) {
      this.signal.throwIfAborted();
      throw new NetworkError(`could not fetch ${url}: ${error}`, { cause: error });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
    }
  }

  /** Waits, unless the caller ends it. */
  pause(ms: number): Promise<void> {
    return pause(ms, this.signal);
  }
}

/** What a server's refusal means: those that may pass are retryable. */
export function refused(url: string, { status, statusText }: Response): NetworkError {
  const retryable = status >= 500 || [408, 416, 429].includes(status);
  return new NetworkError(`${url}: HTTP ${status} ${statusText}`.trimEnd(), { retryable });
}

/** Which version of a file a server has: its `ETag`, or `Last-Modified`. */
export type Version = string;

/** The version that an answer is of; undefined where it does not say, or hides it from other origins. */
export function versionOf({ headers }: Response): Version | undefined {
  return headers.get("ETag") ?? headers.get("Last-Modified") ?? undefined;
}

/** What an answer says of the range that it holds; what it does not say, or hides from other origins, is undefined. */
export function rangeOf(response: Response): { start?: number; end?: number; total?: number } {
  const said = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers.get("Content-Range") ?? "") ?? [];
  const [, start, last, total] = said;
  return {
    ...(start && { start: Number(start) }),
    ...(last && { end: Number(last) + 1 }),
    ...(total && total !== "*" && { total: Number(total) }),
  };
}

/** The bytes that an answer announces; undefined where it does not, or packs them. */
export function announced(response: Response): number | undefined {
  const length = response.headers.get("Content-Length");
  return length && !isPacked(response) ? Number(length) : undefined;
}

/** Whether an answer is packed (gzip), as far as it says: servers hide it from other origins. */
export function isPacked({ headers }: Response): boolean {
  return (headers.get("Content-Encoding") ?? "identity") !== "identity";
}
