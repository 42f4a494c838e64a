/** What the page says while a model whose machine was lost is loaded again: beside whatever the visitor looks at, for that waits. */
import type { Recovery } from "webreft";
import { h } from "../dom.js";
import { amountOf, phaseOf } from "./phase.js";

/** Milliseconds for which the good end stays. */
const STAYS = 8_000;

/** Makes the notice, which hears of recoveries. */
export function mountRecovery(): (recovery: Recovery) => void {
  const title = h("strong", {});
  const text = h("span", {});
  const notice = h("div", { class: "recovery", role: "status", "data-testid": "recovery", hidden: true }, title, text);
  document.body.append(notice);
  let hiding: ReturnType<typeof setTimeout> | undefined;
  return (recovery) => {
    clearTimeout(hiding);
    notice.hidden = recovery.state === "failed"; // the call that waited says why
    if (recovery.state === "lost") {
      title.textContent = "The model is loaded again";
      text.textContent = recovery.reason;
    } else if (recovery.state === "loading") {
      text.textContent = `${phaseOf(recovery.progress)}, ${amountOf(recovery.progress)}. What was under way goes on afterwards.`;
    } else if (recovery.state === "back") {
      const { backend, device } = recovery.info;
      title.textContent = "The model is back";
      text.textContent = backend === "gpu" ? "What was under way goes on." : `It computes on the ${device} now.`;
      hiding = setTimeout(() => {
        notice.hidden = true;
      }, STAYS);
    }
  };
}
