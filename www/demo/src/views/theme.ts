/** Light or dark: as the system says, until the visitor says otherwise. */
import { button } from "../dom.js";

const KEY = "webreft-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

export function mountTheme(root: HTMLElement): void {
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const toggle = button("", { class: "quiet", "data-testid": "theme" }, () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    localStorage.setItem(KEY, theme);
    show();
  });
  const show = () => {
    toggle.textContent = isDark() ? "Light" : "Dark";
    toggle.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
    dispatchEvent(new Event("themechange"));
  };
  const saved = localStorage.getItem(KEY);
  if (saved === "light" || saved === "dark") document.documentElement.dataset.theme = saved;
  system.addEventListener("change", show);
  show();
  root.append(toggle);
}
