/** The loss, step by step, drawn as it comes. */
import type uPlot from "uplot";
import type { TrainStep } from "webreft";
import { drawn } from "./dom.js";

/** Draws into `root`, in the page's colours and at its width. */
export class LossChart {
  readonly #root: HTMLElement;
  #library: typeof uPlot | undefined;
  #plot: uPlot | undefined;
  #steps: number[] = [];
  #losses: number[] = [];
  #total = 2;

  constructor(root: HTMLElement) {
    this.#root = root;
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(root);
    addEventListener("themechange", () => this.#make());
    void this.#prepare();
  }

  /** Begins a new curve. */
  start(): void {
    this.#steps = [];
    this.#losses = [];
    this.#show();
  }

  add(more: TrainStep[]): void {
    for (const { step, loss, steps } of more) {
      this.#steps.push(step);
      this.#losses.push(loss);
      this.#total = Math.max(steps, 2);
    }
    this.#show();
  }

  /** A canvas is made before there is other work for the GPU: making one would wait for it. */
  async #prepare(): Promise<void> {
    await drawn();
    this.#library = (await import("uplot")).default;
    this.#make();
  }

  #show(): void {
    this.#plot?.setData([this.#steps, this.#losses]);
  }

  #size(): { width: number; height: number } {
    return { width: Math.max(this.#root.clientWidth, 200), height: 190 };
  }

  #make(): void {
    if (!this.#library) return;
    this.#plot?.destroy();
    const style = getComputedStyle(this.#root);
    // A canvas takes no variables: a colour is what an element in it would be drawn in.
    const color = (name: string) => {
      this.#root.style.color = `var(${name})`;
      return style.color;
    };
    const font = `12px ${style.getPropertyValue("--mono")}`;
    const axis: uPlot.Axis = {
      stroke: color("--muted"),
      font,
      grid: { stroke: color("--line"), width: 1 },
      ticks: { show: false },
    };
    this.#plot = new this.#library(
      {
        ...this.#size(),
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { time: false, range: () => [1, this.#total] },
          y: { range: (_plot, _min, max) => [0, max * 1.08 || 1] },
        },
        axes: [
          { ...axis, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000], size: 28 },
          { ...axis, size: 44 },
        ],
        // One loss makes no line yet.
        series: [
          {},
          { stroke: color("--accent"), width: 2, points: { show: () => this.#steps.length === 1, size: 6 } },
        ],
      },
      [this.#steps, this.#losses],
      this.#root,
    );
  }
}
