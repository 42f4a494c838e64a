/** The loss, step by step, drawn as it comes. */
import uPlot from "uplot";

/** Draws into `root`, in the page's colours and at its width. */
export class LossChart {
  readonly #root: HTMLElement;
  #plot: uPlot | undefined;
  #steps: number[] = [];
  #losses: number[] = [];
  #total = 0;

  constructor(root: HTMLElement) {
    this.#root = root;
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(root);
    addEventListener("themechange", () => this.#plot && this.#draw());
  }

  /** Begins a new curve. */
  start(): void {
    this.#steps = [];
    this.#losses = [];
    this.#total = 0;
    this.#plot?.setData([[], []]);
  }

  add(step: number, loss: number, total: number): void {
    this.#steps.push(step);
    this.#losses.push(loss);
    if (total !== this.#total) {
      this.#total = total;
      this.#draw();
    } else {
      this.#plot?.setData([this.#steps, this.#losses]);
    }
  }

  #size(): { width: number; height: number } {
    return { width: Math.max(this.#root.clientWidth, 200), height: 190 };
  }

  #draw(): void {
    this.#plot?.destroy();
    const style = getComputedStyle(this.#root);
    const color = (name: string) => style.getPropertyValue(name).trim();
    const font = `12px ${style.getPropertyValue("--mono")}`;
    const axis: uPlot.Axis = {
      stroke: color("--muted"),
      font,
      grid: { stroke: color("--line"), width: 1 },
      ticks: { show: false },
    };
    this.#plot = new uPlot(
      {
        ...this.#size(),
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { time: false, range: [1, Math.max(this.#total, 2)] },
          y: { range: (_, __, max) => [0, max * 1.08 || 1] },
        },
        axes: [
          { ...axis, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500], size: 28 },
          { ...axis, size: 44 },
        ],
        series: [{}, { stroke: color("--accent"), width: 2, points: { show: false } }],
      },
      [this.#steps, this.#losses],
      this.#root,
    );
  }
}
