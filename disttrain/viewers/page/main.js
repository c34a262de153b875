// Starts the page and ties its parts together: what changed decides what is asked for again.
// @ts-check
import { Gone, Refused, address, getJson, latest } from "./api.js";
import { offerMethods, offerTargets, startAttribution } from "./attribution.js";
import { checkpointMessage, checkpoints, keepLooking, loadCheckpoints, noticeGone, startCheckpoints } from "./checkpoints.js";
import { showSides, sides, startCompare } from "./compare.js";
import { counted, find, make } from "./dom.js";
import { offerMaking, startDrawing } from "./drawing.js";
import { draw, refresh, shown, startFigure } from "./figure.js";
import { layerOf, showGraph, startGraph } from "./graph.js";
import { forgetLostInputs, inputName, loadInputs, pictureOf, startInputs } from "./inputs.js";
import { startKeys } from "./keys.js";
import { showLayer, startLayer } from "./layer.js";
import { showPredictions } from "./predictions.js";
import { state, update, watch } from "./state.js";
import { showStatistics } from "./statistics.js";

const askStatistics = latest();
const askPredictions = latest();
/** @type {any} */
let model = null;
let bannerIsAboutServer = false;
/** Before everything is known, a change only adds to what will be asked. */
let ready = false;

/** @param {string} text @param {boolean} [aboutServer] such a banner goes by itself once the server is back */
function banner(text, aboutServer = false) {
  find("banner").hidden = !text;
  find("banner").classList.toggle("lost", aboutServer);
  find("banner-text").textContent = text;
  bannerIsAboutServer = aboutServer && Boolean(text);
}

/** @param {unknown} error */
function failed(error) {
  if (error instanceof Gone) {
    banner("The viewer stopped; it will be picked up again when it is back.", true);
    noticeGone();
  } else if (!bannerIsAboutServer) banner(error instanceof Error ? error.message : String(error));
}

function showInput() {
  find("input-shown").replaceChildren();
  if (!state.input) return find("input-shown").append(make("p", { className: "quiet", textContent: "None chosen." }));
  for (const side of state.compare === "inputs" ? sides() : sides().slice(0, 1)) {
    const name = inputName(side.input);
    const picture = make("img", { src: pictureOf(side.input), alt: `Input ${name}, as the model gets it` });
    picture.addEventListener("error", () => picture.remove());
    find("input-shown").append(make("figure", {}, picture, make("figcaption", { textContent: state.compare === "inputs" ? `${side.name}: ${name}` : name })));
  }
}

async function refreshPredictions() {
  if (!state.input || !checkpoints().length) return showPredictions([]);
  const asked = sides();
  const answers = await askPredictions((signal) => Promise.all(asked.map(({ input, checkpoint }) => getJson(address("/api/predictions", { input, checkpoint }), signal))));
  if (!answers) return;
  showPredictions(asked.map(({ name }, at) => ({ name, answer: answers[at] })));
  offerTargets(answers[0], model?.classes ?? null);
}

async function refreshStatistics() {
  if (!state.input || !state.layer || !checkpoints().length || !layerOf(state.layer)) return showStatistics(null);
  const [asked, { layer }] = [sides(), state];
  const answers = await askStatistics((signal) => Promise.all(asked.map(({ input, checkpoint }) => getJson(address("/api/statistics", { layer, input, checkpoint }), signal))));
  if (answers) showStatistics(asked.map(({ name }, at) => ({ name, answer: answers[at] })));
}

/** A panel that the server refuses says so itself: the banner is for what concerns the whole page. @param {(numbers: any, why?: string) => void} show */
const refused = (show) => (/** @type {unknown} */ error) => {
  if (!(error instanceof Refused)) throw error;
  show(null, error.message);
};

/** The picture first, as it is what was clicked for; then words and numbers. @param {Set<string>} [changed] */
async function follow(changed) {
  const about = (/** @type {string[]} */ ...keys) => !changed || keys.some((key) => changed.has(key));
  await refresh().catch(failed);
  const rest = [];
  const sidesChanged = about("input", "checkpoint", "compare", "other", "otherCheckpoint");
  if (sidesChanged) rest.push(refreshPredictions().catch(refused(showPredictions)));
  if (sidesChanged || about("layer")) rest.push(refreshStatistics().catch(refused(showStatistics)));
  await Promise.all(rest).catch(failed);
  dispatchEvent(new Event("viewer:shown"));
}

/** Ask the server for the model and everything about it. */
async function load() {
  const found = await getJson("/api/model");
  if (model && JSON.stringify({ ...found, message: null }) !== JSON.stringify({ ...model, message: null })) return location.reload(); // another model now
  model = found;
  document.title = `${model.name} · disttrain viewer`;
  find("model-name").textContent = model.name;
  find("model-summary").textContent = `${counted(model.parameters)} parameters · ${model.location || { model: "a model in memory" }[/** @type {string} */ (model.source)] || model.source}`;
  find("model-summary").title = model.location ?? "";
  offerMaking(model);
  const [graph] = await Promise.all([getJson("/api/graph"), loadCheckpoints()]);
  showGraph(graph);
  await loadInputs();
  const lost = await forgetLostInputs();
  const layer = layerOf(state.layer) ?? graph.nodes.find((/** @type {any} */ node) => node.family !== "input" && node.family !== "model") ?? graph.nodes[0];
  const noLayer = state.layer && state.layer !== layer?.id ? `There is no layer ${state.layer}${layer ? `; ${layer.id} is shown instead` : ""}.` : "";
  if (!bannerIsAboutServer) banner([model.message, graph.message, checkpointMessage(), lost, noLayer].filter(Boolean).join(" · "));
  offerMethods(graph.nodes);
  if (layer) update({ layer: layer.id, view: layer.views.includes(state.view) ? state.view : (layer.views[0] ?? "activations") });
  showLayer();
  showSides();
  showInput();
  ready = true;
  await follow();
}

function startTheme() {
  const redraw = () => {
    draw();
    showLayer();
    refreshStatistics().catch(failed); // its picture has the colours of the theme
  };
  const keep = (/** @type {string} */ theme) => {
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // A browser that keeps nothing: the choice lasts as long as the page.
    }
    redraw();
  };
  try {
    const theme = localStorage.getItem("theme");
    if (theme) document.documentElement.dataset.theme = theme;
  } catch {
    // See above.
  }
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", () => {
    if (!document.documentElement.dataset.theme && ready) redraw(); // the page has changed with it, its pictures have not
  });
  find("theme").addEventListener("click", () => {
    const set = document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");
    keep(set === "dark" ? "light" : "dark");
  });
}

startTheme();
startGraph();
startLayer();
startInputs(banner);
startDrawing(banner);
startAttribution();
startCheckpoints();
startCompare();
startFigure();
startKeys();
find("banner-close").addEventListener("click", () => banner(""));
watch(["layer", "view", "input", "checkpoint", "compare", "other", "otherCheckpoint", "method", "target", "start"], (changed) => ready && follow(changed));
watch(["input", "other", "compare"], showInput);

// For tests and for the curious: what is on the screen, and how long it took.
Object.assign(window, { __viewer: { state, shown, update } });

let started = false;
/** Load, or say why not; looked at again every second until it works. */
const tryLoad = async () => {
  try {
    await load();
    started = true;
    if (bannerIsAboutServer) banner("");
  } catch (error) {
    failed(error);
  }
};
await tryLoad();
keepLooking({
  back: () => (banner(""), tryLoad()),
  gone: (error) => (error instanceof Gone ? banner("The viewer stopped; it will be picked up again when it is back.", true) : failed(error)),
  changed: (weightsMoved) => {
    if (!started || (weightsMoved && !model.inputs.length)) return tryLoad(); // what was not built may be now
    showSides();
    if (weightsMoved) follow().catch(failed);
  },
});
