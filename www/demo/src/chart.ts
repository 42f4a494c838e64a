/** Losses, step by step, drawn as they come. */
import type uPlot from "uplot";
import { drawn } from "./dom.js";

/** How a curve is drawn. */
export interface Curve {
  /** Its colour, by the name that the style sheet has for it. */
  color: string;
  /** Lengths of dashes and gaps in turns, in pixels; none for an unbroken line. */
  dash: number[];
}

/** A loss after a step of so many. */
export interface Point {
  step: number;
  steps: number;
  loss: number;
}

/** Draws into `root`, in the page's colours and at its width. */
export class LossChart {
  readonly #root: HTMLElement;
  #library: typeof uPlot | undefined;
  #plot: uPlot | undefined;
  #curves: Curve[] = [];
  /** Of each curve the losses after the first step, the second, …; empty where there is none. */
  #losses: number[][] = [];
  #total = 2;

  constructor(root: HTMLElement) {
    this.#root = root;
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(root);
    addEventListener("themechange", () => this.#make());
    void this.#prepare();
  }

  /** Begins new curves. */
  start(curves: Curve[]): void {
    for (const _ of this.#curves) this.#plot?.delSeries(1);
    this.#curves = curves;
    this.#losses = curves.map(() => []);
    for (const series of this.#series()) this.#plot?.addSeries(series);
    this.#show();
  }

  /** Draws a curve on: the first one, or the one of that number. */
  add(more: Point[], curve = 0): void {
    const losses = this.#losses[curve] ?? [];
    for (const { step, steps, loss } of more) {
      losses[step - 1] = loss;
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
    this.#plot?.setData(this.#data());
  }

  #data(): uPlot.AlignedData {
    const longest = Math.max(0, ...this.#losses.map(({ length }) => length));
    return [Array.from({ length: longest }, (_, at) => at + 1), ...this.#losses];
  }

  #series(): uPlot.Series[] {
    return this.#curves.map(({ color, dash }, at) => ({
      stroke: this.#color(color),
      width: 2,
      dash: dash.map((length) => length * devicePixelRatio),
      // One loss makes no line yet.
      points: { show: () => this.#losses[at]?.length === 1, size: 6 },
    }));
  }

  /** A canvas takes no variables: a colour is what an element in it would be drawn in. */
  #color(name: string): string {
    this.#root.style.color = `var(${name})`;
    return getComputedStyle(this.#root).color;
  }

  #size(): { width: number; height: number } {
    return { width: Math.max(this.#root.clientWidth, 200), height: 190 };
  }

  #make(): void {
    if (!this.#library) return;
    this.#plot?.destroy();
    const font = `12px ${getComputedStyle(this.#root).getPropertyValue("--mono")}`;
    const axis: uPlot.Axis = {
      stroke: this.#color("--muted"),
      font,
      grid: { stroke: this.#color("--line"), width: 1 },
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
        series: [{}, ...this.#series()],
      },
      this.#data(),
      this.#root,
    );
  }
}
