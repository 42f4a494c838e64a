/** A server of one file that misbehaves by a schedule: its n-th entry says how the n-th request is answered; after the last it behaves. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { close, listen, rangeAsked } from "../hub.js";
import type { Random } from "./random.js";

/** What is asked for, and how it goes wrong. */
interface Asked {
  file: Uint8Array;
  isRange: boolean;
  start: number;
  end: number;
}

/** An answer that goes wrong. */
interface Bad extends Asked {
  response: ServerResponse;
  head: Head;
  /** The bytes that are asked for. */
  body: Uint8Array;
  /** A number from 0, less than 1. */
  at: number;
  /** The byte of `body` there. */
  place: number;
  /** Bytes after which the connection is cut. */
  cut: number;
}

interface Head {
  status: number;
  /** What is empty is not sent. */
  headers: Record<string, string | number>;
}

/** All ways to misbehave. */
const WAYS = {
  /** Cuts the connection. */
  drop: ({ response, head, body, place }: Bad) => send(response, head, body, place),
  /** Goes silent in the middle. */
  stall: ({ response, head, body, place }: Bad) =>
    void response.writeHead(head.status, head.headers).write(body.subarray(0, place)),
  /** Never answers. */
  silence: () => {},
  /** Answers a range with the whole file. */
  whole: ({ response, file, cut }: Bad) =>
    send(response, headOf({ file, isRange: false, start: 0, end: file.length }), file, cut),
  /** Says that there are no such bytes. */
  none: ({ response, file, at }: Bad) =>
    void response.writeHead(416, at < 0.5 ? {} : { "Content-Range": `bytes */${file.length}` }).end(),
  /** Sends bytes from elsewhere, and says so. */
  elsewhere({ response, file, end, place, start, cut }: Bad) {
    const other = (start + 1 + place) % end;
    send(response, headOf({ file, isRange: true, start: other, end }), file.subarray(other, end), cut);
  },
  /** Sends bytes from elsewhere, and does not say so. */
  liar({ response, file, end, place, start, head, cut }: Bad) {
    const other = (start + 1 + place) % end;
    send(response, withHeaders(head, { "Content-Length": end - other }), file.subarray(other, end), cut);
  },
  /** Says a wrong total in Content-Range. */
  total: (bad: Bad) => send(bad.response, headOf(bad, Math.floor(2 * bad.at * bad.file.length)), bad.body, bad.cut),
  /** Has a new version from now on. */
  version: ({ response, head, body, cut }: Bad) => send(response, head, body, cut),
  /** Packs what it sends. */
  gzip: ({ response, head, body, cut }: Bad) => send(response, withHeaders(head, PACKED), gzipSync(body), cut),
  /** Sends part of the packed file. */
  slice({ response, file, isRange, start, cut }: Bad) {
    const whole = gzipSync(file);
    const from = start % whole.length;
    const head = headOf({ file: whole, isRange, start: from, end: whole.length });
    send(response, withHeaders(head, { "Content-Encoding": "gzip" }), whole.subarray(from), cut);
  },
  /** Sends less than it says. */
  short: ({ response, head, body, place }: Bad) =>
    send(response, withHeaders(head, { "Content-Length": "" }), body.subarray(0, place)),
  /** Sends more than it says. */
  long({ response, head, body, place, cut }: Bad) {
    const more = Buffer.concat([body, body.subarray(0, place + 1)]);
    send(response, withHeaders(head, { "Content-Length": "" }), more, cut);
  },
  busy: ({ response }: Bad) => void response.writeHead(429).end(),
  down: ({ response }: Bad) => void response.writeHead(503).end("down"),
  /** Redirects to where no answer comes from: as fetch sees a redirect to a server that other origins may not read. */
  redirect: ({ response }: Bad) => void response.writeHead(302, { Location: "http://127.0.0.1:9/" }).end(),
  /** Changes a byte. */
  flip({ response, head, body, place, cut }: Bad) {
    const flipped = Uint8Array.from(body);
    flipped[place] = 255 - (flipped[place] ?? 0);
    send(response, head, flipped, cut);
  },
  /** Sends in small pieces. */
  async drip({ response, head, body, cut }: Bad) {
    const end = Math.min(cut, body.length);
    const piece = Math.ceil(end / 20);
    response.writeHead(head.status, head.headers);
    for (let at = 0; at < end && !response.destroyed; at += piece) {
      response.write(body.subarray(at, Math.min(at + piece, end)));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    if (end === body.length) response.end();
    else response.destroy();
  },
  /** Sends a web page as a success. */
  page: ({ response }: Bad) =>
    void response.writeHead(200, { "Content-Type": "text/html" }).end("<!DOCTYPE html><title>Sign in</title>"),
};

export type Misbehaviour = keyof typeof WAYS;
export const MISBEHAVIOURS = Object.keys(WAYS) as Misbehaviour[];

/** The length of what is packed is not known before. */
const PACKED = { "Content-Encoding": "gzip", "Content-Length": "" };

/** How a request is answered; `at` is between 0 and 1, the place in the answer where it happens. */
export interface Step {
  how: Misbehaviour;
  at: number;
  /** Whether the connection is cut there, too. */
  cut: boolean;
}

/** What the server says of its version. */
export type Versions = "etag" | "modified" | "none";

export function schedule(random: Random, ways: readonly Misbehaviour[], length: number): Step[] {
  const step = () => ({ how: random.one(ways), at: random.below(1000) / 1000, cut: random.below(3) === 0 });
  return Array.from({ length }, step);
}

export class BadServer {
  readonly #steps: Step[];
  readonly #versions: Versions;
  readonly #next: Uint8Array;
  #requests = 0;
  #version = 1;
  /** What it has now. */
  file: Uint8Array;
  /** Closes it. */
  close = () => {};

  /** It has another file after the step `version`. */
  constructor(file: Uint8Array, next: Uint8Array, steps: Step[], versions: Versions) {
    this.file = file;
    this.#next = next;
    this.#steps = steps;
    this.#versions = versions;
  }

  /** Starts it; returns its address. */
  async start(): Promise<string> {
    const server = createServer((request, response) => this.#answer(request, response));
    this.close = () => close(server);
    return listen(server);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const step = this.#steps[this.#requests++];
    if (step?.how === "version") {
      this.file = this.#next;
      this.#version += 1;
    }
    const { file } = this;
    if (this.#versions === "etag") response.setHeader("ETag", `"${this.#version}"`);
    if (this.#versions === "modified")
      response.setHeader("Last-Modified", `Sun, 0${this.#version} Nov 2026 12:00:00 GMT`);
    if (request.method === "HEAD") {
      response.writeHead(200, { "Content-Length": file.length }).end();
      return;
    }
    const range = rangeAsked(request, response, file.length);
    if (!range) return;
    const asked = { file, ...range };
    const body = file.subarray(range.start, range.end);
    const head = headOf(asked);
    if (!step) {
      send(response, head, body);
      return;
    }
    const { how, at, cut } = step;
    const place = Math.floor(at * body.length);
    void WAYS[how]({ ...asked, response, head, body, at, place, cut: cut ? place : Number.POSITIVE_INFINITY });
  }
}

function headOf({ file, isRange, start, end }: Asked, total = file.length): Head {
  const range = { "Content-Range": `bytes ${start}-${end - 1}/${total}` };
  return { status: isRange ? 206 : 200, headers: { "Content-Length": end - start, ...(isRange && range) } };
}

function withHeaders({ status, headers }: Head, others: Head["headers"]): Head {
  return { status, headers: { ...headers, ...others } };
}

/** Sends bytes, and cuts the connection after so many. */
function send(response: ServerResponse, { status, headers }: Head, bytes: Uint8Array, cut = Number.POSITIVE_INFINITY) {
  response.writeHead(status, Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== "")));
  if (cut >= bytes.length) response.end(bytes);
  else response.write(bytes.subarray(0, cut), () => setTimeout(() => response.destroy(), 5));
}
