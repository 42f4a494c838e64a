import "./remove-webgpu.js";
import "webreft/worker";
