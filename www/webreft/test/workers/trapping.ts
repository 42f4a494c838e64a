/**
 * A worker whose engine traps: at once where scores are asked for, and in the middle of waiting where hidden states are, which then
 * never come.
 */
import { WebEngine } from "../../wasm/webreft.js";
import "webreft/worker";

const trap = () => new WebAssembly.RuntimeError("unreachable");

WebEngine.prototype.scores = () => {
  throw trap();
};
WebEngine.prototype.hiddenStates = () => {
  setTimeout(() => self.dispatchEvent(new ErrorEvent("error", { error: trap(), cancelable: true })));
  return new Promise(() => {});
};
