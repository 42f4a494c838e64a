/** A worker of a browser whose GPU, a program that passes for one, is lost with every answer. */
import { WebEngine } from "../../wasm/webreft.js";
import { lose } from "./give-faults.js";
import "webreft/worker";

const { generate } = WebEngine.prototype;
WebEngine.prototype.generate = function (...given) {
  lose();
  return generate.apply(this, given);
};
