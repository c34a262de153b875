// Keyboard shortcuts, and the dialog that lists them.
// @ts-check
import { stepCheckpoint, togglePlay } from "./checkpoints.js";
import { find, make } from "./dom.js";
import { nextLayer } from "./graph.js";
import { nextView } from "./layer.js";
import { state, update } from "./state.js";

/** @type {[string, string, string, () => void][]} keys of the event, what is shown, what it does, how */
const KEYS = [
  ["j", "J", "next layer", () => nextLayer(1)],
  ["k", "K", "layer before", () => nextLayer(-1)],
  ["t", "T", "next view of the layer", () => nextView(1)],
  ["/", "/", "find a layer", () => find("layer-search").focus()],
  ["i", "I", "go to the inputs", () => find("input-list").querySelector("[tabindex='0']")?.focus()],
  ["m", "M", "go to the maps; arrows turn them, Enter enlarges", () => find("maps").focus()],
  ["g", "G", "go to the graph; arrows move, Enter opens, X folds, + − 0 zoom", () => find("graph").focus()],
  [",", ",", "checkpoint before", () => stepCheckpoint(-1)],
  [".", ".", "next checkpoint", () => stepCheckpoint(1)],
  [" ", "Space", "play through the checkpoints", togglePlay],
  ["f", "F", "follow the newest checkpoint", () => find("follow").click()],
  ["c", "C", "compare with another input, or stop", () => {
    find("compare").value = state.compare ? "" : "inputs";
    find("compare").dispatchEvent(new Event("change"));
  }],
  ["d", "D", "light or dark", () => find("theme").click()],
  ["Escape", "Esc", "back to all maps", () => update({ enlarged: null })],
  ["?", "?", "this help", () => openHelp()],
];

function openHelp() {
  if (!find("help").open) find("help").showModal();
}

export function startKeys() {
  find("help-list").append(...KEYS.map(([, key, does]) => make("div", {}, make("dt", {}, make("kbd", { textContent: key })), make("dd", { textContent: does }))));
  find("help-open").addEventListener("click", openHelp);
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = /** @type {HTMLElement} */ (event.target);
    if (find("help").open || target.matches("input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select")) return;
    if (event.key === " " && target.matches("button, summary, input")) return; // Space presses those
    const found = KEYS.find(([key]) => key === event.key || key === event.key.toLowerCase());
    if (!found) return;
    event.preventDefault();
    found[3]();
  });
}
