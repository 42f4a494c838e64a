/** What a model can be loaded from, and how what a caller writes is understood. Nothing is fetched here. */
import { WebReftError } from "./error.js";

/**
 * Where a model is: one GGUF file, all parts of a split one, or a repository of safetensors.
 *
 * - an address (text or `URL`): of a GGUF file, of the first part of a split one (`…-00001-of-00003.gguf`), of a folder of
 *   safetensors (ending in `/`, or in `/config.json`), or of a repository on the Hub;
 * - `hf:owner/name`, `hf:owner/name@revision`, `hf:owner/name:Q4_K_M`, `hf:owner/name@revision:file.gguf`, or the same as {@link HubSource};
 * - a `File` or `Blob`, or several `File`s: all parts of a split GGUF, or a folder of safetensors;
 * - the bytes of a GGUF file.
 */
export type ModelSource = string | URL | HubSource | Blob | File[] | ArrayBuffer | Uint8Array<ArrayBuffer>;

/** A model in a repository of the Hugging Face Hub. */
export interface HubSource {
  /** `owner/name`. */
  repository: string;
  /** A branch, a tag or a commit; `main` if left out. */
  revision?: string;
  /** The quantization of the GGUF file that is wanted: `Q4_K_M`. If left out, the first that there is of {@link PREFERENCE}; safetensors where there is no GGUF. */
  quantization?: string;
  /** The file that is wanted; of a split GGUF the first part, of safetensors `model.safetensors`. */
  file?: string;
}

/** A source as it crosses to the worker. */
export type SourceRequest =
  | { kind: "files"; files: NamedBlob[] }
  | { kind: "url"; url: string }
  | ({ kind: "hub" } & HubSource);

/** A file of the visitor's. */
export interface NamedBlob {
  name: string;
  blob: Blob;
}

/** The Hub, unless the caller names another. */
export const HUB = "https://huggingface.co";

const HUB_NAME = /^hf:(?<repository>[^/@:\s]+\/[^/@:\s]+)(?:@(?<revision>[^:\s]+))?(?::(?<choice>\S+))?$/;
const HUB_PAGE =
  /^\/(?<repository>[^/]+\/[^/]+?)\/?(?:\/(?:tree|blob|resolve)\/(?<revision>[^/]+)\/?(?<file>.*\.(?:gguf|safetensors))?)?$/;

/**
 * Understands a source.
 *
 * @throws {WebReftError} `input` for what is no source.
 */
export function readSource(source: ModelSource, base: string | undefined, hub: string = HUB): SourceRequest {
  if (Array.isArray(source)) {
    if (source.length === 0) throw new WebReftError("input", "source: expected at least one file, got an empty list");
    return { kind: "files", files: source.map((file) => ({ name: file.name, blob: file })) };
  }
  if (source instanceof Blob) return files(source instanceof File ? source.name : "model.gguf", source);
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return files("model.gguf", new Blob([source]));
  if (typeof source === "object" && "repository" in source) return onHub(source);
  if (typeof source === "string" && source.startsWith("hf:")) return byName(source);
  return byAddress(source, base, hub);
}

function files(name: string, blob: Blob): SourceRequest {
  return { kind: "files", files: [{ name, blob }] };
}

/** A repository of the Hub, checked. */
function onHub({ repository, revision, quantization, file }: HubSource): SourceRequest {
  if (!/^[^/@:\s]+\/[^/@:\s]+$/.test(repository)) {
    throw new WebReftError("input", `source: expected a repository as owner/name, got ${repository}`);
  }
  if (quantization && file) {
    throw new WebReftError("input", `source: expected a quantization or a file, got ${quantization} and ${file}`);
  }
  return {
    kind: "hub",
    repository,
    ...(revision && { revision }),
    ...(quantization && { quantization: quantization.toUpperCase() }),
    ...(file && { file }),
  };
}

function byName(name: string): SourceRequest {
  const { repository, revision, choice } = HUB_NAME.exec(name)?.groups ?? {};
  if (!repository) {
    throw new WebReftError(
      "input",
      `source: expected hf:owner/name, @revision and :Q4_K_M or :file after it, got ${name}`,
    );
  }
  const isFile = choice?.match(/\.(gguf|safetensors)$/);
  return onHub({
    repository,
    ...(revision && { revision }),
    ...(choice && (isFile ? { file: choice } : { quantization: choice })),
  });
}

/** An address as the page means it: a worker would read it from its own place. A page of the Hub is a repository. */
function byAddress(address: string | URL, base: string | undefined, hub: string): SourceRequest {
  try {
    const url = new URL(address, base);
    const page = url.origin === new URL(hub).origin ? HUB_PAGE.exec(url.pathname)?.groups : undefined;
    if (!page?.repository) return { kind: "url", url: url.href };
    const { repository, revision, file } = page;
    return onHub({
      repository,
      ...(revision && { revision: decodeURIComponent(revision) }),
      ...(file && { file: decodeURIComponent(file) }),
    });
  } catch (error) {
    throw new WebReftError("input", `source: expected an address or hf:owner/name, got ${address}`, { cause: error });
  }
}

const PART = /^(?<stem>.*)-(?<number>\d{5})-of-(?<count>\d{5})\.gguf$/;
/** More parts than any model is split into. */
const MAX_PARTS = 1000;

/** Where a file belongs among the parts of a split GGUF; undefined for one that is whole. */
export function partOf(name: string): { stem: string; number: number; count: number } | undefined {
  const { stem, number, count } = PART.exec(name)?.groups ?? {};
  return stem === undefined ? undefined : { stem, number: Number(number), count: Number(count) };
}

/**
 * The names of all parts of a split GGUF, one of which is named.
 *
 * @throws {WebReftError} `input` for more parts than a model is split into.
 */
export function allParts(name: string): string[] {
  const part = partOf(name);
  if (!part) return [name];
  if (part.count < 1 || part.count > MAX_PARTS) {
    throw new WebReftError("input", `${name}: expected 1 to ${MAX_PARTS} parts, got ${part.count}`);
  }
  const five = (n: number) => String(n).padStart(5, "0");
  return Array.from({ length: part.count }, (_, i) => `${part.stem}-${five(i + 1)}-of-${five(part.count)}.gguf`);
}

/** A source in one line, the same for the same source: what is stored remembers by it what it was asked as. */
export function nameOf(source: Exclude<SourceRequest, { kind: "files" }>, hub: string): string {
  if (source.kind === "url") return source.url;
  const { repository, revision = "main", quantization, file } = source;
  const choice = file ?? quantization;
  const place = new URL(hub).origin === HUB ? "hf:" : `${new URL(hub).href.replace(/\/$/, "")}/`;
  return `${place}${repository}@${revision}${choice ? `:${choice}` : ""}`;
}
