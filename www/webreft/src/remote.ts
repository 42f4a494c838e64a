/** What of a model lies where on the network. */
import { WebReftError } from "./error.js";
import { endpointOf, listRepository, remoteFiles, TEXTS } from "./hub.js";
import { type Network, refused } from "./network.js";
import { allParts, type SourceRequest } from "./source.js";

const INDEX = "model.safetensors.index.json";

/** A file on the network. */
export interface RemoteFile {
  /** Its own name, without folders. */
  name: string;
  url: string;
  /** Its size, where a listing tells it. */
  bytes?: number;
  /** In hexadecimal, where a listing tells it. */
  sha256?: string;
}

/** All files of one model. */
export interface RemoteModel {
  /** Its place, the same however it was asked for: an address, or a repository's file at a commit. */
  id: string;
  /** The repository's commit. */
  revision?: string;
  files: RemoteFile[];
}

/**
 * Finds the files of a model.
 *
 * @throws {WebReftError} `file` for what is not there or may not be read, `input` for a choice that a repository does not have.
 */
export async function findModel(
  source: Exclude<SourceRequest, { kind: "files" }>,
  network: Network,
): Promise<RemoteModel> {
  if (source.kind === "hub") {
    const endpoint = endpointOf(network);
    const { commit, files } = await listRepository(source, network);
    const chosen = remoteFiles(source, commit, files, endpoint);
    const [first] = chosen.filter(({ name }) => /\.(gguf|safetensors)$/.test(name));
    if (!first) throw new WebReftError("bug", `hf:${source.repository}: a model without weights was chosen`);
    return { id: first.url, revision: commit, files: chosen };
  }
  const url = new URL(source.url);
  const folder = /^.*\/(?=(config\.json|model\.safetensors(\.index\.json)?)?$)/.exec(url.pathname)?.[0];
  if (folder) return { id: at(url, folder).href, files: await repositoryFiles(at(url, folder), network) };
  const path = url.pathname;
  const files = allParts(path).map((part) => ({ name: nameIn(part), url: at(url, part).href }));
  return { id: source.url, files };
}

/** Another path on the same server, with the same query: it may hold what opens the door. */
function at(url: URL, path: string): URL {
  const other = new URL(url);
  other.pathname = path;
  return other;
}

function nameIn(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return name || "model.gguf";
}

/** The files of a folder of safetensors. Nothing lists them: what may be missing is asked for. */
async function repositoryFiles(folder: URL, network: Network): Promise<RemoteFile[]> {
  const file = (name: string): RemoteFile => ({ name, url: at(folder, folder.pathname + name).href });
  const texts = [];
  for (const name of TEXTS) {
    if (name === "config.json" || (await isThere(file(name).url, network))) texts.push(file(name));
  }
  const { url } = file(INDEX);
  if (!texts.some(({ name }) => name === INDEX)) return [...texts, file("model.safetensors")];
  const index = await network.patiently(async () => {
    const response = await network.get(url);
    return network.guard(url, () => response.text());
  });
  return [...texts, ...weightFiles(index, url).map(file)];
}

/**
 * Whether a server has a file. Some answer with a page where they have none.
 *
 * @throws {WebReftError} `file`, retryable, where it does not say: without its tokenizer a model would be another one.
 */
function isThere(url: string, network: Network): Promise<boolean> {
  return network.patiently(async () => {
    const response = await network.fetch(url, { method: "HEAD" });
    if (!response.ok && refused(url, response).retryable) throw refused(url, response);
    return response.ok && !response.headers.get("Content-Type")?.startsWith("text/html");
  });
}

/** The files that an index of safetensors names. */
function weightFiles(index: string, url: string): string[] {
  try {
    const names: unknown[] = Object.values(JSON.parse(index).weight_map);
    return [
      ...new Set(names.filter((name) => typeof name === "string" && /^[^/\\]+\.safetensors$/.test(name))),
    ].sort() as string[];
  } catch (error) {
    throw new WebReftError("file", `${url}: expected an index of safetensors: ${error}`, { cause: error });
  }
}
