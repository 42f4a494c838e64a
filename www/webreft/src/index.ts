/** ReFT for quantized language models, in the browser. Importing this touches nothing: work starts with a call. */
export type {
  Answer,
  ContrastPair,
  Conversation,
  Counterfactual,
  Example,
  Finish,
  HeadConfig,
  KindInfo,
  Labelled,
  Message,
  Need,
  Needs,
  Preference,
  Prompt,
  ReftConfig,
  Sampling,
  Scored,
  StatesAt,
  Tagged,
  Training,
  Unsaved,
} from "../wasm/webreft.js";
export type { Adapter, Machine } from "./adapter.js";
export { type ErrorKind, WebReftError } from "./error.js";
export type { FileFacts } from "./files.js";
export type { Inspection } from "./inspection.js";
export {
  type ComparedPiece,
  type GenerateOptions,
  type InspectOptions,
  type LoadOptions,
  type OpenOptions,
  type Persona,
  type Piece,
  parseExamples,
  probe,
  Reft,
  type RunOptions,
  type SteerOptions,
  type StepOptions,
  type TrainOptions,
  type WatchOptions,
  WebReft,
} from "./model.js";
export type {
  ExampleData,
  HiddenStates,
  LoadProgress,
  Memory,
  ModelInfo,
  PrefillProgress,
  Recovery,
  RunProgress,
  StepProgress,
  TrainableParameters,
  TrainStep,
  WasmSource,
} from "./protocol.js";
export type { HubSource, ModelSource } from "./source.js";
export { Store } from "./store.js";
export type { Room, StoredFile, StoredModel } from "./stored.js";
