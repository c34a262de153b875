// What the model says about the input: bars with probabilities, or plain values; A and B under each other when comparing.
// @ts-check
import { find, make, readable } from "./dom.js";

/** @param {{name: string, answer: any}[]|null} sides one, or two when comparing; null with a reason where there is nothing to show
 * @param {string} [why] */
export function showPredictions(sides, why = "Choose an input to see what the model makes of it.") {
  const place = find("predictions");
  const shown = (sides ?? []).filter(({ answer }) => answer);
  if (!shown.length) {
    place.replaceChildren(make("p", { className: "quiet", textContent: why }));
    return;
  }
  const parts = [];
  for (const { name, answer } of shown) {
    if (shown.length > 1) parts.push(make("h3", { textContent: name }));
    for (const output of answer.outputs) {
      if (answer.outputs.length > 1) parts.push(make("h4", { textContent: output.name }));
      parts.push(output.kind === "classes" ? classes(output) : values(output));
    }
    if (answer.message) parts.push(make("p", { className: "quiet", textContent: answer.message }));
  }
  place.replaceChildren(...parts);
}

/** @param {any} output */
function classes(output) {
  return make("ol", { className: "bars" }, ...output.entries.map((/** @type {any} */ entry, /** @type {number} */ at) => {
    const percent = entry.value * 100;
    const fill = make("span", { className: "fill" });
    fill.style.width = `${Math.max(0, Math.min(100, percent))}%`;
    const number = percent >= 99.95 ? "100 %" : `${percent.toFixed(percent < 0.1 ? 2 : 1)} %`;
    const label = String(entry.label ?? entry.index);
    return make("li", { className: [at ? "" : "first", entry.truth ? "truth" : ""].join(" ").trim(), title: `${label}: ${readable(entry.value)}${entry.truth ? "; what it is, by its label" : ""}` }, fill,
      make("span", { className: "label", textContent: entry.truth ? `${label}  ✓ true class` : label }), make("span", { className: "number", textContent: number }));
  }));
}

/** @param {any} output */
function values(output) {
  return make("ul", { className: "values" }, ...output.entries.map((/** @type {any} */ entry) =>
    make("li", {}, make("span", { className: "label", textContent: String(entry.label ?? entry.index ?? "") }), make("span", { className: "number", textContent: readable(entry.value) }))));
}
