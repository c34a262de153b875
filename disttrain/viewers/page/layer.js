// The chosen layer: its name, settings and tabs.
// @ts-check
import { counted, find, make, shapeText } from "./dom.js";
import { layerOf } from "./graph.js";
import { state, update, watch } from "./state.js";

const TABS = { activations: "Activations", filters: "Filters", gates: "Gates", state: "State", attention: "Attention", attribution: "Where it looks" };

/** Only a convolution has filters. @param {any} layer @param {keyof typeof TABS} view */
const tabOf = (layer, view) => (view === "filters" && layer.family !== "convolutional" ? "Weights" : (TABS[view] ?? view));

function show() {
  const layer = layerOf(state.layer);
  find("attribution-tools").hidden = state.view !== "attribution" || !layer;
  if (!layer) {
    find("layer-name").textContent = state.layer ? `No layer called ${state.layer}` : "No layer chosen";
    find("layer-summary").textContent = "Choose a layer in the graph.";
    find("tabs").replaceChildren();
    find("layer-config").hidden = true;
    return;
  }
  find("layer-name").textContent = layer.id;
  const shapes = layer.shapes.map(shapeText).join(", ");
  find("layer-summary").textContent = [layer.type, shapes, layer.parameters ? `${counted(layer.parameters)} parameters${layer.trainable ? "" : ", frozen"}` : "no parameters"].filter(Boolean).join("  ·  ");
  const settings = Object.entries(layer.config ?? {});
  find("layer-config").hidden = !settings.length;
  find("config-list").replaceChildren(...settings.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: typeof value === "string" ? value : JSON.stringify(value) })]));
  find("tabs").replaceChildren(...layer.views.map((/** @type {keyof typeof TABS} */ view) => {
    const tab = make("button", { type: "button", role: "tab", textContent: tabOf(layer, view), "aria-selected": view === state.view, "aria-controls": "figure", tabIndex: view === state.view ? 0 : -1 });
    tab.dataset.view = view;
    tab.addEventListener("click", () => update({ view }));
    return tab;
  }));
}

/** @param {number} by */
export function nextView(by) {
  const views = layerOf(state.layer)?.views ?? [];
  if (views.length) update({ view: views[(views.indexOf(state.view) + by + views.length) % views.length] });
}

export function startLayer() {
  find("tabs").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    nextView(by);
    find("tabs").querySelector("[aria-selected=true]")?.focus();
  });
  watch(["layer", "view"], show);
}
export { show as showLayer };
