/**
 * A small imitation of the Hugging Face Hub on localhost, which misbehaves when asked to: `{address}/{behaviour}/{session}` is an endpoint.
 * A session is a test's own; what was asked in it is told at `{address}/asked/{session}`.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const TOKEN = "hf_secret";

/** The files of a repository, by their paths. */
export type Repository = Record<string, Uint8Array>;

/**
 * - `plain`: as the Hub answers.
 * - `drop`: each file's connection is cut in the middle, once.
 * - `broken`: it is cut in the middle, always.
 * - `damaged`: a byte of each large file is another one.
 * - `page`: a web page in place of each file, once.
 * - `slow`: files come in small pieces with pauses between them.
 * - `gated`: nothing without the token.
 * - `pages`: the listing has one file on a page.
 * - `huge`: each file says that it has {@link HUGE} bytes, of which those that there are come.
 */
export type Behaviour = "plain" | "drop" | "broken" | "damaged" | "page" | "slow" | "gated" | "pages" | "huge";

const HUGE = 2 ** 31;
const PIECE = 16_384;
const PAUSE = 30;

/** Serves repositories, by `owner/name`. */
export async function serveHub(repositories: Record<string, Repository>): Promise<{ address: string; close(): void }> {
  const hub = new Hub(repositories);
  const server = createServer((request, response) => void hub.answer(request, response));
  return { address: await listen(server), close: () => close(server) };
}

export async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (typeof address !== "object" || !address) throw new Error("the server has no address");
  return `http://127.0.0.1:${address.port}`;
}

export function close(server: Server): void {
  server.closeAllConnections();
  server.close();
}

class Hub {
  readonly #repositories: Record<string, Repository>;
  readonly #asked = new Map<string, string[]>();
  readonly #dropped = new Set<string>();

  constructor(repositories: Record<string, Repository>) {
    this.#repositories = repositories;
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader("Access-Control-Allow-Origin", "*");
    response.setHeader("Access-Control-Allow-Headers", "Authorization, Range");
    response.setHeader("Access-Control-Expose-Headers", "ETag, Link, Content-Range");
    const [, behaviour = "", session = "", ...path] = (request.url ?? "").split("?")[0]?.split("/") ?? [];
    if (request.method === "OPTIONS") {
      response.writeHead(204).end();
    } else if (behaviour === "asked") {
      response.end(JSON.stringify(this.#asked.get(session) ?? []));
    } else {
      const line = `${request.method} ${path.join("/")} ${request.headers.range ?? ""}`.trim();
      this.#asked.set(session, [...(this.#asked.get(session) ?? []), line]);
      const allowed = behaviour !== "gated" || request.headers.authorization === `Bearer ${TOKEN}`;
      if (!allowed) response.writeHead(401).end();
      else if (path[0] === "api") this.#list(behaviour, path.slice(2), request, response);
      else await this.#send(behaviour, session, path, request, response);
    }
  }

  #list(behaviour: string, path: string[], request: IncomingMessage, response: ServerResponse): void {
    const [owner, name, what, revision = ""] = path;
    const repository = this.#repositories[`${owner}/${name}`];
    const isKnown = ["main", "refs%2Fpr%2F1", COMMIT].includes(revision);
    if (!repository || !isKnown) {
      response.writeHead(404).end();
    } else if (what === "revision") {
      response.end(JSON.stringify({ sha: COMMIT }));
    } else {
      const all = [{ type: "directory", path: "folder", size: 0 }, ...Object.entries(repository).map(listed)];
      const url = new URL(request.url ?? "", `http://${request.headers.host}`);
      const page = Number(url.searchParams.get("page") ?? 0);
      const paged = behaviour === "pages";
      if (paged && page + 1 < all.length) {
        url.searchParams.set("page", String(page + 1));
        response.setHeader("Link", `<${url}>; rel="next"`);
      }
      response.end(JSON.stringify(paged ? [all[page]] : all));
    }
  }

  async #send(behaviour: string, session: string, path: string[], request: IncomingMessage, response: ServerResponse) {
    const [owner, name, , revision, ...rest] = path;
    const file = revision === COMMIT && this.#repositories[`${owner}/${name}`]?.[rest.join("/")];
    if (!file) {
      response.writeHead(404).end();
      return;
    }
    if (behaviour === "page" && this.#isFirst(`${session} ${rest}`)) {
      response.writeHead(200, { "Content-Type": "text/html" }).end("<!DOCTYPE html><title>Sign in</title>");
      return;
    }
    const asked = rangeAsked(request, response, file.length);
    if (!asked) return;
    const { isRange, start, end } = asked;
    const bytes = file.slice(start, end);
    if (behaviour === "damaged" && file.length > PIECE) bytes[bytes.length - 1] = 255 - (bytes.at(-1) ?? 0);
    const total = behaviour === "huge" ? HUGE : file.length;
    const headers = { "Content-Length": bytes.length, "Content-Range": `bytes ${start}-${end - 1}/${total}` };
    response.writeHead(isRange ? 206 : 200, isRange ? headers : { "Content-Length": bytes.length });
    if (request.method === "HEAD") response.end();
    else if (behaviour === "slow") await trickle(bytes, response);
    else if (behaviour === "broken" || (behaviour === "drop" && this.#isFirst(`${session} ${rest}`)))
      cut(bytes, response);
    else response.end(bytes);
  }

  #isFirst(what: string): boolean {
    const isFirst = !this.#dropped.has(what);
    this.#dropped.add(what);
    return isFirst;
  }
}

/** The bytes of a file that a request asks for; where the file has none from there on, answers so and returns nothing. */
export function rangeAsked(request: IncomingMessage, response: ServerResponse, length: number) {
  const range = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? "");
  const start = Number(range?.[1] ?? 0);
  if (start >= length) {
    response.writeHead(416, { "Content-Range": `bytes */${length}` }).end();
    return undefined;
  }
  const end = range?.[2] ? Math.min(Number(range[2]) + 1, length) : length;
  return { isRange: range !== null, start, end };
}

/** Sends half of it, and hangs up when even a slow browser has read it. */
function cut(bytes: Uint8Array, response: ServerResponse): void {
  response.write(bytes.subarray(0, bytes.length / 2), () => setTimeout(() => response.destroy(), 10 * PAUSE));
}

async function trickle(bytes: Uint8Array, response: ServerResponse): Promise<void> {
  for (let at = 0; at < bytes.length && !response.destroyed; at += PIECE) {
    response.write(bytes.subarray(at, at + PIECE));
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  response.end();
}

/** A file as the Hub's listing has it: large ones are in Git LFS, with their hash. */
function listed([path, bytes]: [string, Uint8Array]) {
  const oid = createHash("sha256").update(bytes).digest("hex");
  const lfs = bytes.length > PIECE && { lfs: { oid, size: bytes.length, pointerSize: 135 } };
  return { type: "file", path, size: bytes.length, oid: "0".repeat(40), ...lfs };
}
