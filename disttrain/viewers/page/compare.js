// Two inputs, or two checkpoints, side by side.
// @ts-check
import { checkpoints, labelOf } from "./checkpoints.js";
import { find } from "./dom.js";
import { inputName } from "./inputs.js";
import { state, update, watch } from "./state.js";

/** Whether there are two sides now. */
export const comparing = () => (state.compare === "inputs" && Boolean(state.other)) || (state.compare === "checkpoints" && Boolean(state.otherCheckpoint));

/** What each side shows. @returns {{name: string, input: string, checkpoint: string}[]} */
export function sides() {
  const a = { name: "A", input: state.input, checkpoint: state.checkpoint };
  if (!comparing()) return [a];
  return [a, { name: "B", input: state.compare === "inputs" ? state.other : state.input, checkpoint: state.compare === "checkpoints" ? state.otherCheckpoint : state.checkpoint }];
}

/** What a side is called. @param {{name: string, input: string, checkpoint: string}} side */
export function titleOf(side) {
  const what = state.compare === "checkpoints" ? labelOf(checkpoints().find((one) => one.name === side.checkpoint)) : inputName(side.input);
  return `${side.name}: ${what}`;
}

function show() {
  find("compare").value = state.compare;
  find("compare-tools").hidden = !state.compare;
  find("sides").hidden = state.compare !== "inputs";
  find("other-checkpoint-label").hidden = state.compare !== "checkpoints";
  for (const radio of find("sides").querySelectorAll("input")) radio.checked = radio.value === state.side;
  const two = comparing();
  const named = sides().map(titleOf);
  find("side-a-name").hidden = !two;
  find("side-a-name").textContent = named[0];
  find("side-b-name").textContent = named[1] ?? "";
}

export function startCompare() {
  find("compare").addEventListener("change", () => {
    const compare = find("compare").value;
    // Something to compare with at once: the input after this one, or the first checkpoint.
    const ids = [...find("input-list").querySelectorAll(".card")].map((card) => card.dataset.input);
    const other = state.other || ids[(ids.indexOf(state.input) + 1) % Math.max(1, ids.length)] || "";
    const otherCheckpoint = checkpoints().some((one) => one.name === state.otherCheckpoint) ? state.otherCheckpoint : (checkpoints()[0]?.name ?? "");
    update({ compare, other: compare === "inputs" ? other : "", otherCheckpoint: compare === "checkpoints" ? otherCheckpoint : "", side: "b" });
  });
  find("sides").addEventListener("change", (/** @type {any} */ event) => update({ side: event.target.value }));
  watch(["compare", "other", "otherCheckpoint", "side", "input", "checkpoint"], show);
  show();
}
export { show as showSides };
