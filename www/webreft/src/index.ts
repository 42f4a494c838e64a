/** ReFT for quantized language models, in the browser. Importing this touches nothing: work starts with a call. */
export type {
  Adapter,
  Example,
  Finish,
  LoadProgress,
  Memory,
  Message,
  ModelInfo,
  ReftConfig,
  Sampling,
  Training,
  TrainStep,
} from "../wasm/webreft.js";
export { type ErrorKind, WebReftError } from "./error.js";
export {
  type ComparedPiece,
  type EngineStart,
  type GenerateOptions,
  type LoadOptions,
  type ModelSource,
  type Piece,
  type Prompt,
  probe,
  Reft,
  type TrainOptions,
  WebReft,
} from "./model.js";
export type { WasmSource } from "./protocol.js";
