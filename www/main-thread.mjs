/** How long a page holds its main thread, as Chromium's own trace of the thread's tasks tells it. */

const MARK = "webreft: this is the page";

/** Begins to watch. What it returns ends the watch, and gives the longest task's milliseconds. */
export async function watchMainThread(browser, page) {
  await browser.startTracing(page, { categories: ["toplevel", "blink.user_timing"] });
  return async () => {
    await page.evaluate((mark) => performance.mark(mark), MARK);
    const { traceEvents } = JSON.parse((await browser.stopTracing()).toString());
    const { pid, tid } = traceEvents.find(({ name }) => name === MARK);
    const tasks = traceEvents.filter(
      (event) => event.name === "ThreadControllerImpl::RunTask" && event.pid === pid && event.tid === tid,
    );
    const longest = (microseconds) =>
      Math.round(tasks.reduce((most, task) => Math.max(most, microseconds(task)), 0) / 100) / 10;
    return {
      /** By the clock, waiting for a core that others hold included. */
      wallMs: longest(({ dur = 0 }) => dur),
      /** On a core itself; 0 where the system does not tell. */
      cpuMs: longest(({ dur = 0, tdur = 0 }) => Math.min(dur, tdur)),
    };
  };
}
