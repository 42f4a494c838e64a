/** What can be known of a model before it is loaded. */
import type { Inspection as Told } from "../wasm/webreft.js";
import type { FileFacts } from "./files.js";

/** What a model is, what it would take on this device, and what is to be fetched of it. */
export interface Inspection extends Told {
  /** Its files, of a repository of safetensors the configuration and the tokenizer, too. */
  files: FileFacts[];
  /** Bytes of all files. */
  download: number;
  /** Bytes of them that are stored already, or the visitor's own. */
  stored: number;
  /** The repository's commit. */
  revision?: string;
}
