/** The Hugging Face Hub: what a repository holds, and which of it is the model that is meant. */
import { WebReftError } from "./error.js";
import { type Network, refused } from "./network.js";
import type { RemoteFile } from "./remote.js";
import { allParts, type HubSource, partOf } from "./source.js";

/** A file in a repository, as the Hub's listing has it. */
export interface HubFile {
  path: string;
  size: number;
  /** Only of files in Git LFS, which all weights are. */
  sha256?: string;
}

/** What is taken where no quantization is asked for: a little worse than the original and much smaller first, the largest last. */
export const PREFERENCE = [
  ...["Q4_K_M", "Q4_K_S", "Q4_0", "Q4_K_L", "Q4_K_XL", "Q4_1", "IQ4_NL", "IQ4_XS", "Q5_K_M", "Q5_K_S", "Q5_0", "Q5_1"],
  ...["Q6_K", "Q8_0", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "BF16", "F16", "F32"],
];

/** What of a repository of safetensors is read beside the weights. */
export const TEXTS = [
  ...["config.json", "tokenizer.json", "tokenizer_config.json"],
  ...["generation_config.json", "chat_template.jinja", "added_tokens.json", "model.safetensors.index.json"],
];

/** Pages of a listing at the most; the Hub puts a thousand files on one. */
const MAX_PAGES = 50;

/** The commit that a repository is at, and its files there. */
export async function listRepository(
  { repository, revision = "main" }: HubSource,
  network: Network,
): Promise<{ commit: string; files: HubFile[] }> {
  const api = `${endpointOf(network)}/api/models/${repository}`;
  const at = `${api}/revision/${encodeURIComponent(revision)}`;
  const { sha } = Object((await ask(at, repository, revision, network)).told);
  if (typeof sha !== "string") throw new WebReftError("file", `${at}: the Hub does not say which commit it is`);
  const files: HubFile[] = [];
  let next: string | undefined = `${api}/tree/${encodeURIComponent(sha)}?recursive=true`;
  for (let page = 0; next; page++) {
    if (page === MAX_PAGES) throw new WebReftError("unsupported", `hf:${repository}: more files than can be listed`);
    const { response, told }: Answer = await ask(next, repository, revision, network);
    if (!Array.isArray(told)) throw new WebReftError("file", `${next}: expected a list of files`);
    files.push(...told.flatMap(fileIn));
    next = nextPage(response, next);
  }
  return { commit: sha, files };
}

/** The files of the model that is meant, with their addresses at a commit. */
export function remoteFiles(source: HubSource, commit: string, files: HubFile[], endpoint: string): RemoteFile[] {
  const { repository } = source;
  const encoded = (path: string) => path.split("/").map(encodeURIComponent).join("/");
  return pick(source, files).map(({ path, size, sha256 }) => ({
    name: path.slice(path.lastIndexOf("/") + 1),
    url: `${endpoint}/${repository}/resolve/${encodeURIComponent(commit)}/${encoded(path)}`,
    bytes: size,
    ...(sha256 && { sha256 }),
  }));
}

/** The Hub's address without a slash at its end. */
export function endpointOf({ access }: Network): string {
  return access.endpoint.replace(/\/+$/, "");
}

/**
 * Chooses the files of one model: the file or the quantization asked for, or the best of {@link PREFERENCE}; GGUF before safetensors.
 *
 * @throws {WebReftError} `input` where that is none, or several; it lists what there is.
 */
export function pick(source: HubSource, files: HubFile[]): HubFile[] {
  const { repository, quantization, file } = source;
  const models = ggufModels(files);
  const list = models.map(({ quantization, parts }) => {
    const size = parts.reduce((sum, part) => sum + part.size, 0);
    return `${quantization || "unnamed"} (${parts[0]?.path}, ${(size / 1e6).toFixed(0)} MB)`;
  });
  const weights = safetensors(files);
  if (weights.length > 0) list.push("safetensors");
  const there =
    list.length > 0 ? `there are: ${list.join(", ")}` : "it has no GGUF file and no safetensors with config.json";
  const refuse = (what: string) => new WebReftError("input", `hf:${repository}: ${what}; ${there}`);

  if (file) {
    const isMeant = ({ path }: HubFile) => path === file || path.endsWith(`/${file}`);
    const model = models.find(({ parts }) => parts.some(isMeant));
    if (model) return model.parts;
    if (weights.some(isMeant)) return weights;
    throw refuse(`no model's file ${file}`);
  }
  const wanted = quantization ? [quantization] : PREFERENCE;
  for (const name of wanted) {
    const [first, second] = models.filter((model) => model.quantization === name);
    if (first && second) throw refuse(`several files are ${name}: name the one that is meant`);
    if (first) return first.parts;
  }
  if (quantization) throw refuse(`no ${quantization}`);
  const [only, other] = models;
  if (only && !other) return only.parts;
  if (weights.length > 0) return weights;
  throw refuse("no model to choose");
}

/** A GGUF model of a repository: its file, or all of its parts in their order. */
interface GgufModel {
  /** As the file's name ends; empty where it does not say. */
  quantization: string;
  parts: HubFile[];
}

/** The GGUF models among files. What only sees pictures, or only helped to quantize, is none; nor is a split one with a part missing. */
function ggufModels(files: HubFile[]): GgufModel[] {
  const ggufs = files.filter(({ path }) => path.endsWith(".gguf") && !/mmproj|imatrix/i.test(path));
  const byPath = new Map(ggufs.map((file) => [file.path, file]));
  return ggufs.flatMap((file) => {
    const part = partOf(file.path);
    if (part && part.number !== 1) return [];
    const parts = allParts(file.path).flatMap((path) => byPath.get(path) ?? []);
    const isWhole = parts.length === (part?.count ?? 1);
    const stem = part?.stem ?? file.path.slice(0, -".gguf".length);
    return isWhole ? [{ quantization: quantizationOf(stem), parts }] : [];
  });
}

function quantizationOf(stem: string): string {
  return /(?:^|[^A-Z0-9])(I?Q\d(?:_[A-Z0-9]+)*|BF16|F16|F32)$/.exec(stem.toUpperCase())?.[1] ?? "";
}

/** The files of a model in safetensors, if a repository holds one. */
function safetensors(files: HubFile[]): HubFile[] {
  const texts = files.filter(({ path }) => TEXTS.includes(path));
  const weights = files.filter(({ path }) => /^model(-\d{5}-of-\d{5})?\.safetensors$/.test(path));
  return texts.some(({ path }) => path === "config.json") && weights.length > 0 ? [...texts, ...weights] : [];
}

/** What the Hub answers, and what it says in JSON. */
interface Answer {
  response: Response;
  told: unknown;
}

/** Asks the Hub, again where the network fails. */
function ask(url: string, repository: string, revision: string, network: Network): Promise<Answer> {
  const page = `${endpointOf(network)}/${repository}`;
  return network.patiently(async () => {
    const response = await network.fetch(url);
    if (response.status === 401 || response.status === 403) {
      const reason = `it is gated or private, or there is no such repository (HTTP ${response.status})`;
      const advice = `accept its terms at ${page} and pass a token that may read it`;
      throw new WebReftError("file", `hf:${repository}: ${reason}; ${advice}`);
    }
    if (response.status === 404) {
      const reason = `no such repository, or it has no revision ${revision}`;
      throw new WebReftError("file", `hf:${repository}: ${reason}; look at ${page}`);
    }
    if (!response.ok) throw refused(url, response);
    return { response, told: json(url, await network.guard(url, () => response.text())) };
  });
}

function json(url: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new WebReftError("file", `${url}: expected JSON: ${error}`, { cause: error, retryable: true });
  }
}

/** A file of the Hub's listing; folders are none. */
function fileIn(entry: Record<string, unknown>): HubFile[] {
  const { type, path, size, lfs } = entry as {
    type?: unknown;
    path?: unknown;
    size?: unknown;
    lfs?: { oid?: unknown };
  };
  if (type !== "file" || typeof path !== "string" || typeof size !== "number") return [];
  const isHash = typeof lfs?.oid === "string" && /^[0-9a-f]{64}$/.test(lfs.oid);
  return [{ path, size, ...(isHash && { sha256: lfs.oid as string }) }];
}

/** Where a listing goes on: `Link: <…>; rel="next"`. */
function nextPage(response: Response, from: string): string | undefined {
  const next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get("Link") ?? "")?.[1];
  return next && new URL(next, from).href;
}
