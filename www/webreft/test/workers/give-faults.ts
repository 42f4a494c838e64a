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

const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  const device = await requestDevice.call(this, descriptor);
  new BroadcastChannel("lose the GPU").onmessage = () => device.destroy();
  return device;
};
