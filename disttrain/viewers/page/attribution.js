// Where the model looks: a heat map over the input's picture, for a class and a method of one's choice.
// @ts-check
import { table } from "./colours.js";
import { find, make, readable } from "./dom.js";
import { levels, valueAt } from "./numbers.js";
import { state, update, watch } from "./state.js";

/** @param {HTMLCanvasElement} canvas @param {import("./api.js").Packed} pack @param {import("./numbers.js").Look} look @param {CanvasImageSource|null} picture @returns {import("./numbers.js").HitTest} */
export function drawAttribution(canvas, pack, look, picture) {
  const { header } = pack;
  const zoom = Math.max(0.1, Math.min(look.width / header.width, Math.max(look.height, 200 * look.unit) / header.height));
  canvas.width = Math.floor(header.width * zoom);
  canvas.height = Math.floor(header.height * zoom);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingEnabled = zoom < 2;
  if (picture) context.drawImage(picture, 0, 0, canvas.width, canvas.height);

  const [low, high] = look.shared ?? [header.minimum[0], header.maximum[0]];
  const { part, through } = levels(pack, 0, Math.min(0, low), high > low ? high : low + 1);
  const palette = table(look.colour === "grey" ? "grey" : "viridis", look.dark);
  const heat = new ImageData(header.width, header.height);
  const pixels = new Uint32Array(heat.data.buffer);
  const strength = state.opacity / 100;
  for (let at = 0; at < pixels.length; at++) {
    const level = through ? through[part[at]] : part[at];
    // What matters little stays see-through, so the picture is visible where the model did not look.
    const alpha = Math.round(255 * strength * Math.min(1, 0.15 + (level / 255) * 1.2));
    pixels[at] = ((palette[level] & 0xffffff) | (alpha << 24)) >>> 0;
  }
  const small = new OffscreenCanvas(header.width, header.height);
  small.getContext("2d")?.putImageData(heat, 0, 0);
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  return (x, y) => {
    const [column, row] = [Math.floor(x / zoom), Math.floor(y / zoom)];
    if (column < 0 || row < 0 || column >= header.width || row >= header.height) return null;
    const value = valueAt(pack, 0, row * header.width + column);
    return { map: 0, row, column, value, text: `row ${row}, column ${column}: ${readable(value)}` };
  };
}

/** Offer the classes, the likeliest first. @param {any} answer of /api/predictions @param {string[]|null} names every class, if they have names */
export function offerTargets(answer, names) {
  const output = answer?.outputs?.[0];
  const select = find("target");
  if (!output) return;
  const likely = output.entries.map((/** @type {any} */ entry) => entry.index);
  const total = Math.min(names?.length || output.shape?.at(-1) || likely.length, 1000);
  const rest = Array.from({ length: total }, (_, index) => index).filter((index) => !likely.includes(index));
  const label = (/** @type {number} */ index) => output.entries.find((/** @type {any} */ entry) => entry.index === index)?.label ?? names?.[index] ?? String(index);
  select.replaceChildren(
    make("option", { value: "", textContent: likely.length ? `${label(likely[0])} (the prediction)` : "the prediction" }),
    ...[...likely, ...rest].map((index) => make("option", { value: String(index), textContent: String(label(index)) })),
  );
  select.value = state.target;
  if (select.value !== state.target) update({ target: "" });
}

/** Without a layer of maps there is no Grad-CAM: then a gradient is what is shown first. @param {any[]} nodes of the graph */
export function offerMethods(nodes) {
  const maps = nodes.some((node) => node.family !== "input" && node.views.includes("attribution"));
  find("method").querySelector('[value="gradcam"]').disabled = !maps;
  if (!maps && state.method === "gradcam") update({ method: "gradient" });
}

export function startAttribution() {
  find("method").value = state.method;
  find("method").addEventListener("change", () => update({ method: find("method").value }));
  find("target").addEventListener("change", () => update({ target: find("target").value }));
  find("opacity").addEventListener("input", () => update({ opacity: Number(find("opacity").value) }));
  watch(["method", "target"], () => {
    find("method").value = state.method;
    find("target").value = state.target;
  });
}
