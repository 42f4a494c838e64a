/** Numbers as people read them. */

const UNITS = ["B", "kB", "MB", "GB"];

/** `8.1 MB` */
export function bytes(n: number): string {
  const power = n < 1000 ? 0 : Math.min(Math.floor(Math.log10(n) / 3), UNITS.length - 1);
  const value = n / 1000 ** power;
  return `${power === 0 ? value : value.toPrecision(3)} ${UNITS[power]}`;
}

/** `5.4 million` */
export function count(n: number): string {
  return new Intl.NumberFormat("en", { notation: "compact", compactDisplay: "long", maximumFractionDigits: 1 }).format(
    n,
  );
}

/** `1.25 s` */
export function seconds(s: number): string {
  return s < 10 ? `${s.toFixed(2)} s` : `${s.toFixed(1)} s`;
}

/** `1 step`, `2 steps` */
export function plural(n: number, word: string): string {
  return `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
}
