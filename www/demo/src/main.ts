import { probe } from "webreft";

document.body.textContent = JSON.stringify(await probe());
