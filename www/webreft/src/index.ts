/** ReFT for quantized language models, in the browser. Importing this touches nothing: work starts with a call. */
export type {
  Answer,
  Conversation,
  Counterfactual,
  Example,
  Finish,
  HeadConfig,
  KindInfo,
  Labelled,
  Message,
  Preference,
  Prompt,
  ReftConfig,
  Sampling,
  Scored,
  Tagged,
  Training,
  Unsaved,
} from "../wasm/webreft.js";
export type { Adapter } from "./adapter.js";
export { type ErrorKind, WebReftError } from "./error.js";
export {
  type ComparedPiece,
  type GenerateOptions,
  type LoadOptions,
  type ModelSource,
  type Persona,
  type Piece,
  probe,
  Reft,
  type TrainOptions,
  type WatchOptions,
  WebReft,
} from "./model.js";
export type { LoadProgress, Memory, ModelInfo, TrainableParameters, TrainStep, WasmSource } from "./protocol.js";
export { Store } from "./store.js";
