import { createRequire } from "node:module"; const WebSocket = createRequire("/tmp/prof/")("ws");
import { chromium } from "playwright-core";
import { writeFileSync } from "node:fs";
import { BROWSER_ARGS, browserPath } from "./browser.mjs";
const [address, file, profile] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: browserPath(), args: [...BROWSER_ARGS, '--remote-debugging-port=9333'], headless: true });
const page = await browser.newPage();

const { webSocketDebuggerUrl } = await (await fetch("http://127.0.0.1:9333/json/version")).json();
const ws = new WebSocket(webSocketDebuggerUrl);
await new Promise((r) => ws.addEventListener("open", r));
let id = 0; const waiting = new Map(); let session;
const raw = (method, params, sessionId) => new Promise((resolve) => { const n = ++id; waiting.set(n, resolve); ws.send(JSON.stringify({ id: n, method, params, sessionId })); });
ws.addEventListener("message", ({ data }) => { const m = JSON.parse(data); if (m.id) return waiting.get(m.id)?.(m);
  if (m.method === "Target.attachedToTarget") { const { type } = m.params.targetInfo; if (type === "worker") { session = m.params.sessionId; if (profile) for (const [me, q] of [["Profiler.enable"], ["Profiler.setSamplingInterval", { interval: 1000 }], ["Profiler.start"]]) raw(me, q, session); } else if (type === "page") raw("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: false, flatten: true }, m.params.sessionId); } });
await raw("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: false, flatten: true });
const send = (method, params = {}) => raw(method, params, session);
await page.goto(`${address}package.json`);
await page.setContent('<input type="file">');
await page.setInputFiles("input", file);
await page.evaluate(async () => {
  const { WebReft } = await import("./dist/index.js");
  globalThis.WebReft = WebReft;
  const f = document.querySelector("input").files[0];
  await WebReft.inspect(f, { contextLength: 512 });
});
console.log("session", session);
const r = await page.evaluate(async () => {
  const f = document.querySelector("input").files[0];
  const start = performance.now();
  const model = await WebReft.load(f, { contextLength: 512 });
  const ms = performance.now() - start;
  return { ms, mbps: f.size / 1e3 / ms };
});
console.log(r);
if (profile && session) {
  const { result } = await send("Profiler.stop");
  const p = result.profile; const self = new Map(); const total = p.timeDeltas.reduce((a, b) => a + b, 0);
  const byId = new Map(p.nodes.map((n) => [n.id, n]));
  p.samples.forEach((s, i) => { const n = byId.get(s).callFrame; const k = `${n.functionName} ${n.url.split("/").pop()}`; self.set(k, (self.get(k) ?? 0) + p.timeDeltas[i]); });
  [...self].sort((a, b) => b[1] - a[1]).slice(0, 25).forEach(([k, v]) => console.log((v / 1000).toFixed(0).padStart(7), "ms", (100 * v / total).toFixed(1).padStart(5), "%", k));
}
ws.close(); await browser.close();
