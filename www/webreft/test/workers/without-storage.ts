import "./remove-storage.js";
import "webreft/worker";
