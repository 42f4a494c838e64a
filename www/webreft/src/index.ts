/** ReFT for quantized language models, in the browser. Importing this touches nothing: work starts with a call. */
export type {
  Example,
  Finish,
  LoadProgress,
  Memory,
  Message,
  ReftConfig,
  Sampling,
  Training,
  TrainStep,
} from "../wasm/webreft.js";
export type { Adapter } from "./adapter.js";
export { type ErrorKind, WebReftError } from "./error.js";
export {
  type ComparedPiece,
  type GenerateOptions,
  type LoadOptions,
  type ModelInfo,
  type ModelSource,
  type Piece,
  type Prompt,
  probe,
  Reft,
  type TrainOptions,
  WebReft,
} from "./model.js";
export type { WasmSource } from "./protocol.js";
