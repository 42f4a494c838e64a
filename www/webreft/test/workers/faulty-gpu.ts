import "./give-faults.js";
import "webreft/worker";
