// The picture of the chosen layer: asks for its numbers, draws them as their form wants, tells what is under the pointer.
// @ts-check
import { Refused, address, getPacked, latest } from "./api.js";
import { drawAtlas } from "./atlas.js";
import { drawAttribution } from "./attribution.js";
import { drawBars } from "./bars.js";
import { checkpoints, unchanging } from "./checkpoints.js";
import { chosen, ends, isDark, table } from "./colours.js";
import { comparing, sides } from "./compare.js";
import { counted, find, readable, styled } from "./dom.js";
import { layerOf } from "./graph.js";
import { drawHeatmap } from "./heatmap.js";
import { pictureOf } from "./inputs.js";
import { drawLines } from "./lines.js";
import { extent, nameOf, only } from "./numbers.js";
import { state, update, watch } from "./state.js";

/** @typedef {import("./api.js").Packed} Packed */
const MAPS_AT_ONCE = 256;
const ask = latest();
const askExact = latest();
/** What is on the screen: one pack, or two side by side. @type {Packed[]} */
let packs = [];
/** @type {(CanvasImageSource|null)[]} */
let pictures = [];
/** @type {import("./numbers.js").HitTest[]} */
let hits = [];
/** The enlarged map with its values as they are, once they have come. @type {(Packed|undefined)[]} */
let exact = [];
export const shown = { /** @type {Packed[]} */ packs: [], milliseconds: 0, hit: (/** @type {number} */ x, /** @type {number} */ y, side = 0) => hits[side]?.(x, y) ?? null };

/** @param {{input: string, checkpoint: string}} side @param {Record<string, any>} [more] */
function wanted({ input, checkpoint }, more = {}) {
  if (state.view === "attribution") {
    // Asked at an input, Grad-CAM is that of the last layer with maps; the gradients are those of the input that is asked about.
    const atInput = layerOf(state.layer)?.family === "input";
    const layer = (state.method === "gradcam") !== atInput && !(atInput && state.layer.includes("/")) ? state.layer : "";
    return address("/api/attribution", { method: state.method, input, checkpoint, class: state.target, layer });
  }
  const given = state.view === "filters" ? "" : input;
  return address("/api/activations", { layer: state.layer, input: given, checkpoint, view: state.view, start: state.start, count: MAPS_AT_ONCE, ...more });
}

/** Ask for what was chosen; what is on the screen stays until it has come. @returns {Promise<void>} */
export async function refresh() {
  const began = performance.now();
  if (!state.layer) return say("Choose a layer in the graph.");
  if (!checkpoints().length) return say("Waiting for the first checkpoint.");
  if (!state.input && state.view !== "filters") return say("Choose an input above.");
  find("figure").setAttribute("aria-busy", "true");
  try {
    const asked = sides();
    const answer = await ask((signal) => Promise.all([
      Promise.all(asked.map((side) => getPacked(wanted(side), signal, unchanging(side.checkpoint)))),
      Promise.all(asked.map((side) => (state.view === "attribution" ? loaded(pictureOf(side.input)) : null))),
    ]));
    if (!answer) return; // something newer was chosen meanwhile
    [packs, pictures] = answer;
    exact = [];
    if (state.enlarged !== null && state.enlarged >= packs[0].header.count) state.enlarged = null;
    draw();
    shown.milliseconds = performance.now() - began;
    tell();
    if (state.enlarged !== null) sharpen();
    soon();
  } catch (error) {
    if (error instanceof Refused) say(error.message, true);
    else {
      // What stands there belongs to what was chosen before: under the new name it would be a lie.
      if (packs.length && packs[0].header.layer !== state.layer) say(`${state.layer} cannot be shown now.`, true);
      throw error;
    }
  } finally {
    find("figure").setAttribute("aria-busy", "false");
  }
}

/** @param {string} url @returns {Promise<CanvasImageSource|null>} */
async function loaded(url) {
  const picture = new Image();
  picture.src = url;
  return picture.decode().then(() => picture, () => null);
}

/** Nothing to draw: say why instead. @param {string} message */
function say(message, wrong = false) {
  ask(async () => {}); // and nothing under way may draw over it
  packs = shown.packs = [];
  hits = [];
  for (const id of ["side-a", "side-b"]) find(id).hidden = true;
  for (const id of ["legend", "pager", "enlarged-back", "order-label", "scale-label", "colour-label"]) find(id).hidden = true;
  Object.assign(find("empty"), { hidden: false, textContent: message, className: wrong ? "empty wrong" : "empty" });
  find("hover").textContent = "";
  find("status").textContent = message;
}

/** Paint what came, by the choices of now. */
export function draw() {
  if (!packs.length) return;
  const enlarged = state.enlarged;
  const painted = enlarged === null ? packs : packs.map((pack, at) => exact[at] ?? only(pack, Math.min(enlarged, pack.header.count - 1)));
  const dark = isDark();
  const unit = window.devicePixelRatio || 1;
  const range = extent(painted);
  find("empty").hidden = true;
  find("side-a").hidden = false;
  find("side-b").hidden = painted.length < 2;
  find("figure").classList.toggle("two", painted.length > 1);
  const place = find("figure").getBoundingClientRect();
  hits = painted.map((pack, at) => {
    const canvas = find(at ? "maps-b" : "maps");
    const width = Math.max(120, canvas.parentElement.clientWidth) * unit;
    const height = Math.max(160, place.height - (painted.length > 1 ? 56 : 26)) * unit;
    const look = { width, height, unit, dark, colour: state.colour, order: state.order, ink: styled("--ink"), faint: styled("--faint"),
      shared: state.scale === "shared" || (painted.length > 1 && pack.header.form === "bars") ? range : null, ranges: agreed(painted) };
    const hit = drawForm(canvas, pack, look, pictures[at] ?? null);
    canvas.style.width = `${canvas.width / unit}px`;
    canvas.style.height = `${canvas.height / unit}px`;
    canvas.setAttribute("aria-label", described(pack));
    return hit;
  });
  shown.packs = packs;
  legend(range, dark);
  tools();
}

/** Two sides are coloured by the same values, map for map, or a difference of scale would look like one of the model. @param {Packed[]} painted @returns {[number, number][]|null} */
function agreed(painted) {
  if (painted.length < 2 || state.scale === "shared") return null;
  const [one, two] = painted.map(({ header }) => header);
  return one.minimum.map((/** @type {number} */ low, /** @type {number} */ map) => [Math.min(low, two.minimum[map] ?? low), Math.max(one.maximum[map], two.maximum[map] ?? one.maximum[map])]);
}

/** @param {HTMLCanvasElement} canvas @param {Packed} pack @param {any} look @param {CanvasImageSource|null} picture */
function drawForm(canvas, pack, look, picture) {
  const { form, view } = pack.header;
  if (state.view === "attribution" && form === "maps" && pack.header.count === 1) return drawAttribution(canvas, pack, look, picture);
  if (view === "attention" || form === "heatmap") return drawHeatmap(canvas, pack, look);
  return { lines: drawLines, bars: drawBars }[/** @type {string} */ (form)]?.(canvas, pack, look) ?? drawAtlas(canvas, pack, look);
}

/** What the canvas shows, for those who do not see it. @param {Packed} pack */
function described({ header }) {
  const [low, high] = extent([{ header, data: new Uint8Array() }]);
  const size = header.height > 1 ? `${header.height} × ${header.width}` : `${header.width} values`;
  return `${header.view ?? state.view} of ${header.layer ?? state.layer}: ${counted(header.count)} ${header.form} of ${size}, values from ${readable(low)} to ${readable(high)}`;
}

function tell() {
  const { header } = packs[0];
  const one = { bars: "unit", lines: "line", heatmap: "heat map", pictures: "picture" }[/** @type {string} */ (header.form)] ?? "map";
  const number = header.form === "bars" ? header.width * header.count : header.count;
  const many = `${counted(number)} ${one}${number === 1 ? "" : "s"}`;
  const what = header.form === "bars" ? many : `${many} of ${header.height > 1 ? `${header.height} × ${header.width}` : header.width}`;
  find("status").textContent = [`${state.layer}, ${state.view}: ${what}`, `shown in ${Math.round(shown.milliseconds)} ms`, header.message].filter(Boolean).join(" · ");
}

/** @param {[number, number]} range @param {boolean} dark */
function legend(range, dark) {
  const { form, channels } = packs[0].header;
  const mixed = packs[0].header.labels && Math.min(...packs[0].header.minimum) < 0 && Math.max(...packs[0].header.minimum) >= 0;
  const coloured = !mixed && form !== "bars" && form !== "lines" && channels === 1;
  find("legend").hidden = !coloured;
  if (!coloured) return;
  const name = state.view === "attribution" ? (state.colour === "grey" ? "grey" : "viridis") : chosen(state.colour, range[0] < 0);
  const [low, high] = ends(...range, name);
  const each = state.scale === "map" && state.enlarged === null && packs[0].header.count > 1;
  find("legend-low").textContent = each ? (name === "diverging" ? "below 0" : "least") : readable(low);
  find("legend-high").textContent = each ? (name === "diverging" ? "above 0" : "most of the map") : readable(high);
  const bar = find("legend-bar").getContext("2d");
  const image = bar.createImageData(128, 10);
  new Uint32Array(image.data.buffer).forEach((_, at, pixels) => (pixels[at] = table(name, dark)[(at % 128) * 2]));
  bar.putImageData(image, 0, 0);
}

/** Show the tools that the form at hand has a use for. */
function tools() {
  const { form, total, start, count, channels } = packs[0].header;
  find("order-label").hidden = form !== "bars";
  find("scale-label").hidden = form === "bars" || count < 2 || channels === 3 || state.view === "attribution";
  find("colour-label").hidden = form === "bars" || form === "lines" || channels === 3;
  find("enlarged-back").hidden = state.enlarged === null;
  find("pager").hidden = state.enlarged !== null || total <= count;
  find("pager-text").textContent = `${counted(start)}–${counted(start + count - 1)} of ${counted(total)}`;
  find("maps-back").disabled = start === 0;
  find("maps-next").disabled = start + count >= total;
}

/** Fetch the enlarged map's values as they are, instead of in 256 steps. */
async function sharpen() {
  const at = state.enlarged;
  if (at === null || state.view === "attribution" || packs[0].header.dtype === "float32") return;
  const answer = await askExact((signal) => Promise.all(sides().map((side) => getPacked(wanted(side, { exact: 1, start: packs[0].header.start + at, count: 1 }), signal, false)))).catch(() => undefined);
  if (!answer || state.enlarged !== at) return;
  exact = answer;
  draw();
}

/** Have the checkpoints beside this one ready: the slider goes there next. */
function soon() {
  if (comparing() || state.follow || !unchanging(state.checkpoint)) return;
  const known = checkpoints();
  const at = known.findIndex((one) => one.name === state.checkpoint);
  for (const beside of [known[at + 1], known[at - 1]]) {
    if (beside) getPacked(wanted({ input: state.input, checkpoint: beside.name }), undefined, true).catch(() => {});
  }
}

/** @param {PointerEvent|MouseEvent} event @param {number} side */
function under(event, side) {
  const canvas = /** @type {HTMLCanvasElement} */ (event.currentTarget);
  const box = canvas.getBoundingClientRect();
  return hits[side]?.((event.clientX - box.left) * (canvas.width / box.width), (event.clientY - box.top) * (canvas.height / box.height)) ?? null;
}

/** @param {number} by */
function turn(by) {
  const count = packs[0]?.header.count ?? 0;
  if (count > 1) update({ enlarged: ((state.enlarged ?? (by > 0 ? -1 : count)) + by + count) % count });
}

export function startFigure() {
  for (const [side, id] of ["maps", "maps-b"].entries()) {
    const canvas = find(id);
    canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => (find("hover").textContent = under(event, side)?.text ?? ""));
    canvas.addEventListener("pointerleave", () => (find("hover").textContent = ""));
    canvas.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      const hit = under(event, side);
      if (state.enlarged !== null) update({ enlarged: null });
      else if (hit && (packs[0].header.count > 1)) update({ enlarged: hit.map });
    });
    canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (by) turn(by);
      else if (event.key === "Enter") update({ enlarged: state.enlarged === null && packs[0]?.header.count > 1 ? 0 : null });
      else return;
      event.preventDefault();
    });
  }
  find("enlarged-back").addEventListener("click", () => update({ enlarged: null }));
  find("maps-back").addEventListener("click", () => update({ start: Math.max(0, state.start - MAPS_AT_ONCE) }));
  find("maps-next").addEventListener("click", () => update({ start: state.start + MAPS_AT_ONCE }));
  for (const name of ["colour", "scale", "order"]) {
    find(name).value = state[name];
    find(name).addEventListener("change", () => update({ [name]: find(name).value }));
  }
  watch(["colour", "scale", "order", "opacity"], draw);
  watch(["enlarged"], (changed) => {
    if (changed.has("layer") || changed.has("view")) return; // asked for anew
    exact = [];
    draw();
    sharpen();
    if (state.enlarged !== null && packs.length) find("status").textContent = `${nameOf(packs[0].header, state.enlarged)} of ${state.layer}, enlarged; Escape goes back`;
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let before = "";
  new ResizeObserver(([{ contentRect }]) => {
    const size = `${Math.round(contentRect.width)} ${Math.round(contentRect.height)}`;
    if (size !== before) draw();
    before = size;
  }).observe(find("figure"));
}
