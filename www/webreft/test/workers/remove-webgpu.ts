/** Makes this worker one of a browser without WebGPU. */
Reflect.deleteProperty(Object.getPrototypeOf(navigator), "gpu");
