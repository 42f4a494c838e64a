/**
 * Makes this worker one of a browser whose software adapter passes for a GPU, and has a fault: it computes wrongly where the worker's name
 * says so, and is lost when somebody says so on the channel.
 */
const described = { description: "a GPU of the tests", vendor: "", architecture: "", isFallbackAdapter: false };
for (const [field, value] of Object.entries(described)) {
  Object.defineProperty(GPUAdapterInfo.prototype, field, { get: () => value });
}

if (self.name === "wrong") {
  const { createShaderModule } = GPUDevice.prototype;
  GPUDevice.prototype.createShaderModule = function (descriptor) {
    const code = descriptor.code.replace("up * activate4", "up + activate4");
    return createShaderModule.call(this, { ...descriptor, code });
  };
}

/** What a page may ask of the device: to be lost now or before the k-th submit from now on, or to fail the k-th buffer or readback. */
export type Fault = { lose: "now" } | { submit: number } | { buffer: number } | { readback: number };

/** What the worker answers to `state`. */
export interface State {
  /** Bytes of all buffers that are not destroyed. */
  bytes: number;
  /** Calls up to the one that fails, it among them; 0 where it has failed, or none is to. */
  left: { submit: number; buffer: number; readback: number };
}

const left = { submit: 0, buffer: 0, readback: 0 };
let bytes = 0;
const isDue = (call: keyof typeof left) => left[call] > 0 && --left[call] === 0;
/** Milliseconds that have passed for the worker alone: losses long ago are forgotten. */
let passed = 0;
const now = performance.now.bind(performance);
performance.now = () => now() + passed;

const channel = new BroadcastChannel("faults of the GPU");
const devices = new Set<GPUDevice>();
channel.onmessage = ({ data }: MessageEvent<Fault | "state">) => {
  passed += 1_000_000;
  if (data === "state") channel.postMessage({ bytes, left } satisfies State);
  else if ("lose" in data) lose();
  else Object.assign(left, { submit: 0, buffer: 0, readback: 0 }, data);
};

/** Loses the GPU. */
export function lose(): void {
  for (const device of devices) device.destroy();
}

const { submit } = GPUQueue.prototype;
GPUQueue.prototype.submit = function (buffers) {
  if (isDue("submit")) lose();
  return submit.call(this, buffers);
};

const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  const device = await requestDevice.call(this, descriptor);
  devices.add(device);
  void device.lost.then(() => devices.delete(device));
  return device;
};

const sizes = new WeakMap<GPUBuffer, number>();
const { createBuffer } = GPUDevice.prototype;
GPUDevice.prototype.createBuffer = function (descriptor) {
  const buffer = createBuffer.call(this, isDue("buffer") ? { ...descriptor, usage: 0 } : descriptor);
  bytes += descriptor.size;
  sizes.set(buffer, descriptor.size);
  return buffer;
};
const { destroy, mapAsync } = GPUBuffer.prototype;
GPUBuffer.prototype.destroy = function () {
  bytes -= sizes.get(this) ?? 0;
  sizes.delete(this);
  return destroy.call(this);
};

GPUBuffer.prototype.mapAsync = function (...given) {
  if (isDue("readback")) return Promise.reject(new DOMException("a fault on purpose", "OperationError"));
  return mapAsync.apply(this, given);
};
