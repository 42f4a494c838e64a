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

/** What a page may ask of the device: to be lost now, or before so many more submits. */
export type Fault = { lose: "now" } | { loseBefore: number };

let left = Number.POSITIVE_INFINITY;
/** Milliseconds that have passed for the worker alone: losses long ago are forgotten. */
let passed = 0;
const now = performance.now.bind(performance);
performance.now = () => now() + passed;

const channel = new BroadcastChannel("faults of the GPU");
const devices = new Set<GPUDevice>();
channel.onmessage = ({ data }: MessageEvent<Fault>) => {
  passed += 1_000_000;
  if ("lose" in data) lose();
  else left = data.loseBefore;
};

/** Loses the GPU. */
export function lose(): void {
  for (const device of devices) device.destroy();
}

const { submit } = GPUQueue.prototype;
GPUQueue.prototype.submit = function (buffers) {
  left -= 1;
  if (left === 0) lose();
  return submit.call(this, buffers);
};

const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  const device = await requestDevice.call(this, descriptor);
  devices.add(device);
  void device.lost.then(() => devices.delete(device));
  return device;
};
