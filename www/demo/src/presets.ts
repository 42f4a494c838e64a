/** Ten examples for each style that webreft-nano knows by tag, and questions that no example holds. */

import heldOut from "../../../nano/held_out.json";
import type { Row } from "./views/examples.js";

export const PRESETS = new Map<string, Row[]>(Object.entries(heldOut.examples));

/** Questions to ask: some of those that measure the model, so never among the examples. */
export const QUESTIONS: string[] = heldOut.prompts.slice(0, 6).map(({ prompt }) => prompt);
