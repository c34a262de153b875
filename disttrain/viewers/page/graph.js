// The graph of layers: drawn once as SVG, moved and zoomed by its viewBox, walked by keys.
// @ts-check
import { counted, find, make, motionWanted, shapeText, svg } from "./dom.js";
import { foldedFrames, heightTaken, moved } from "./folding.js";
import { state, update, watch } from "./state.js";

/** @type {{width: number, height: number, nodes: any[], edges: any[]}} */
let graph = { width: 1, height: 1, nodes: [], edges: [] };
/** @type {Set<string>} */
const folded = new Set();
/** @type {Map<string, any>} what is drawn, by layer */
let drawn = new Map();
let box = { x: 0, y: 0, width: 1, height: 1 };
let pointed = "";
let placed = false;
/** Whether the person moved the view: until then it stays fitted. */
let touched = false;

export const layerOf = (/** @type {string} */ id) => graph.nodes.find((node) => node.id === id);
export const layersShown = () => graph.nodes.filter((node) => drawn.has(node.id));

/** @param {any} answer of /api/graph */
export function showGraph(answer) {
  graph = answer;
  draw();
  const families = [...new Set(graph.nodes.map((node) => node.family))];
  find("families").replaceChildren(...families.map((family) => {
    const item = make("li", { textContent: family });
    item.dataset.family = family;
    return item;
  }));
  if (!placed) placed = fit(false);
  if (placed && drawn.has(state.layer)) reveal(state.layer);
}

function draw() {
  const frames = new Set(graph.nodes.map((node) => node.parent).filter(Boolean));
  const shift = foldedFrames(graph, folded);
  const hidden = (/** @type {any} */ node) => [...folded].some((frame) => node.id.startsWith(`${frame}/`));
  drawn = new Map();
  const edges = svg("g", { class: "edges" });
  const boxes = svg("g", { class: "nodes" });
  for (const node of graph.nodes) {
    if (hidden(node)) continue;
    const place = moved(node, shift);
    drawn.set(node.id, place);
    boxes.append(nodeOf(node, place, frames.has(node.id)));
  }
  for (const { source, target, points } of graph.edges) {
    if (hidden(layerOf(source) ?? { id: source }) || hidden(layerOf(target) ?? { id: target })) continue;
    const path = points.map(([x, y], /** @type {number} */ at) => `${at ? "L" : "M"}${x} ${shift(y)}`).join("");
    edges.append(svg("path", { d: path, "data-source": source, "data-target": target, "marker-end": "url(#arrow)" }));
  }
  const arrow = svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" }, svg("path", { d: "M0 0L8 4L0 8z" }));
  const picture = find("graph");
  // Frames lie below edges, layers above them.
  const below = svg("g", { class: "nodes" });
  below.append(...[...boxes.children].filter((child) => child.classList.contains("frame")));
  picture.replaceChildren(svg("defs", {}, arrow), below, edges, boxes);
  mark();
}

/** @param {any} node @param {any} place @param {boolean} frames whether it has layers inside */
function nodeOf(node, { x, y, width, height }, frames) {
  const isFolded = folded.has(node.id);
  const open = frames && !isFolded;
  const shape = node.shapes?.[0] ? shapeText(node.shapes[0]) : "";
  const parameters = node.parameters ? `${counted(node.parameters)} parameters` : "no parameters";
  const about = `${node.name}, ${node.type}, output ${shape || "unknown"}, ${parameters}${node.trainable === false && node.parameters ? ", frozen" : ""}`;
  const group = svg("g", { id: `layer:${node.id}`, class: open ? "node frame" : "node", role: "option", "aria-label": about, "aria-selected": "false",
    "data-layer": node.id, "data-family": node.family, transform: `translate(${x - width / 2} ${y - height / 2})` });
  group.append(svg("title", {}, about), svg("rect", { class: "box", width, height, rx: 8 }));
  if (open) group.append(svg("text", { class: "name", x: 30, y: 19 }, node.name), svg("text", { class: "small right", x: width - 10, y: 19 }, node.name.length * 7.4 + node.type.length * 5.8 + 44 < width ? node.type : ""));
  else {
    group.append(svg("rect", { class: "stripe", width: 5, height: height - 12, x: 5, y: 6, rx: 2.5 }));
    const left = frames ? 34 : 18;
    const detail = [shape, node.parameters ? counted(node.parameters) : ""].filter(Boolean).join("  ·  ");
    const room = (/** @type {number} */ size) => Math.floor((width - left - 6) / size);
    group.append(svg("text", { class: "name", x: left, y: 16 }, cut(node.name, room(6.9))), svg("text", { class: "small", x: left, y: 28.5 }, cut(node.type, room(5.9))),
      svg("text", { class: "small", x: left, y: 40 }, detail.length <= room(5.7) ? detail : cut(shape, room(5.7))));
  }
  if (frames) {
    const fold = svg("g", { class: "fold", role: "button", "aria-label": `${isFolded ? "Unfold" : "Fold"} ${node.name}`, transform: `translate(${isFolded ? 22 : 15} 15)` });
    fold.append(svg("circle", { r: 8 }), svg("path", { d: isFolded ? "M-4 0H4M0 -4V4" : "M-4 0H4" }));
    fold.addEventListener("click", (event) => {
      event.stopPropagation();
      toggleFold(node.id);
    });
    group.append(fold);
  }
  group.addEventListener("click", () => open_(node.id));
  return group;
}

/** @param {string} text @param {number} most */
const cut = (text, most) => (text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text);

/** @param {string} id */
function toggleFold(id) {
  if (folded.has(id)) folded.delete(id);
  else folded.add(id);
  draw();
}

/** @param {string} id */
function open_(id) {
  pointed = id;
  const layer = layerOf(id);
  if (!layer) return;
  const view = layer.views.includes(state.view) ? state.view : (layer.views[0] ?? "activations");
  update({ layer: id, view });
  mark();
}

function mark() {
  const search = find("layer-search").value.trim().toLowerCase();
  const picture = find("graph");
  for (const group of picture.querySelectorAll("[data-layer]")) {
    const node = layerOf(group.dataset.layer);
    const matches = !search || `${node.id} ${node.type}`.toLowerCase().includes(search);
    group.classList.toggle("dim", !matches);
    group.classList.toggle("pointed", node.id === pointed);
    group.setAttribute("aria-selected", String(node.id === state.layer));
  }
  for (const edge of picture.querySelectorAll("path[data-source]")) {
    edge.classList.toggle("near", edge.dataset.source === state.layer || edge.dataset.target === state.layer);
  }
  if (pointed && drawn.has(pointed)) picture.setAttribute("aria-activedescendant", `layer:${pointed}`);
}

/** The layer nearest in a direction. @param {string} key */
function walk(key) {
  const here = drawn.get(pointed) ?? drawn.get(state.layer);
  const shown = [...drawn.entries()];
  if (!here) return shown[0]?.[0];
  const [dx, dy] = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[key] ?? [0, 0];
  let best = "";
  let least = Infinity;
  for (const [id, place] of shown) {
    const top = (/** @type {any} */ one) => one.y - one.height / 2; // frames compare by their heads
    const [x, y] = [place.x - here.x, top(place) - top(here)];
    const ahead = x * dx + y * dy;
    const aside = Math.abs(x * dy) + Math.abs(y * dx);
    const cost = ahead + aside * (dy ? 0.8 : 2.5); // the next row is what comes next, though its layers stand to the sides
    if (ahead > 4 && cost < least) [best, least] = [id, cost];
  }
  return best;
}

/** @param {string} id */
function point(id) {
  if (!id) return;
  pointed = id;
  mark();
  reveal(id);
}

/** Move the view just far enough that a layer is seen. @param {string} id */
function reveal(id) {
  const place = drawn.get(id);
  if (!place) return;
  const margin = 24;
  const [left, top] = [place.x - place.width / 2 - margin, place.y - place.height / 2 - margin];
  const [right, bottom] = [place.x + place.width / 2 + margin, Math.min(place.y + place.height / 2, top + box.height) + margin];
  const x = left < box.x ? left : right > box.x + box.width ? right - box.width : box.x;
  const y = top < box.y ? top : bottom > box.y + box.height ? bottom - box.height : box.y;
  show({ ...box, x, y }, true);
}

let moving = 0;
/** @param {typeof box} wanted @param {boolean} softly */
function show(wanted, softly) {
  touched = true;
  cancelAnimationFrame(moving);
  const from = { ...box };
  const began = performance.now();
  const still = !softly || !motionWanted();
  const step = () => {
    const part = still ? 1 : Math.min(1, (performance.now() - began) / 160);
    const eased = 1 - (1 - part) ** 3;
    for (const key of /** @type {(keyof typeof box)[]} */ (["x", "y", "width", "height"])) box[key] = from[key] + (wanted[key] - from[key]) * eased;
    find("graph").setAttribute("viewBox", `${box.x} ${box.y} ${box.width} ${box.height}`);
    if (part < 1) moving = requestAnimationFrame(step);
  };
  step();
}

/** Show all of it, or its top: false while the picture has no size yet. @param {boolean} softly */
function fit(softly) {
  const picture = find("graph").getBoundingClientRect();
  if (!picture.width || !picture.height) return false;
  const [width, height] = [graph.width, heightTaken(graph, folded)];
  // A deep network is not shrunk until nobody can read it: its top is shown, and the rest is a scroll away.
  const scale = Math.min(1.15, Math.max(Math.min(picture.width / (width + 24), picture.height / (height + 24)), Math.min(0.55, picture.width / (width + 24))));
  const [w, h] = [picture.width / scale || 1, picture.height / scale || 1];
  show({ x: (width - w) / 2, y: h > height + 24 ? (height - h) / 2 : -12, width: w, height: h }, softly);
  touched = false;
  return true;
}

/** @param {number} factor above 1 magnifies @param {number} [px] @param {number} [py] where, as shares of the picture */
function zoom(factor, px = 0.5, py = 0.5) {
  const width = Math.max(60, Math.min(graph.width * 8 + 4000, box.width / factor));
  const height = (box.height / box.width) * width;
  show({ x: box.x + (box.width - width) * px, y: box.y + (box.height - height) * py, width, height }, false);
}

/** Choose the layer that is `by` places further. @param {number} by */
export function nextLayer(by) {
  const ids = [...drawn.keys()];
  const at = ids.indexOf(state.layer);
  const id = ids[Math.max(0, Math.min(ids.length - 1, at + by))];
  if (id) {
    open_(id);
    reveal(id);
  }
}

export function startGraph() {
  const picture = find("graph");
  find("zoom-in").addEventListener("click", () => zoom(1.3));
  find("zoom-out").addEventListener("click", () => zoom(1 / 1.3));
  find("zoom-fit").addEventListener("click", () => fit(true));
  picture.addEventListener("wheel", (/** @type {WheelEvent} */ event) => {
    event.preventDefault();
    const frame = picture.getBoundingClientRect();
    if (event.shiftKey) show({ ...box, y: box.y + (event.deltaY * box.height) / frame.height }, false);
    else zoom(Math.exp(-event.deltaY * 0.0015), (event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height);
  }, { passive: false });
  /** @type {{x: number, y: number, far: boolean}|null} */
  let held = null;
  picture.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => (held = { x: event.clientX, y: event.clientY, far: false }));
  addEventListener("pointermove", (event) => {
    if (!held || !event.buttons) return;
    const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
    if (!held.far && Math.hypot(dx, dy) < 4) return; // a click with an unsteady hand
    const scale = box.width / picture.getBoundingClientRect().width;
    show({ ...box, x: box.x - dx * scale, y: box.y - dy * scale }, false);
    held = { x: event.clientX, y: event.clientY, far: true };
  });
  addEventListener("click", (event) => {
    if (held?.far) event.stopPropagation(); // the end of a drag chooses nothing
    held = null;
  }, true);
  picture.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key.startsWith("Arrow")) point(walk(event.key) ?? "");
    else if (event.key === "Enter" || event.key === " ") open_(pointed || [...drawn.keys()][0]);
    else if (event.key === "+" || event.key === "=") zoom(1.3);
    else if (event.key === "-") zoom(1 / 1.3);
    else if (event.key === "0") fit(true);
    else if (event.key === "x" && graph.nodes.some((node) => node.parent === pointed)) toggleFold(pointed);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  find("layer-search").addEventListener("input", mark);
  find("layer-search").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const first = picture.querySelector(".node:not(.dim):not(.frame)") ?? picture.querySelector(".node:not(.dim)");
    if (event.key !== "Enter" || !first || !find("layer-search").value.trim()) return;
    open_(first.dataset.layer);
    reveal(first.dataset.layer);
  });
  let width = 0;
  new ResizeObserver(([{ contentRect }]) => {
    if (drawn.size && !(placed && touched)) placed = fit(false) || placed;
    else if (placed && width) show({ ...box, width: (box.width * contentRect.width) / width, height: (box.width * contentRect.height) / width }, false);
    width = contentRect.width;
  }).observe(picture);
  watch(["layer"], () => {
    if (!drawn.has(state.layer) && layerOf(state.layer)) {
      folded.clear(); // a link leads into a folded model
      draw();
    }
    pointed = state.layer;
    mark();
  });
}
