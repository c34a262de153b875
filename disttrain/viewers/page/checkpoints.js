// The checkpoints of a run: a slider, the newest followed as it is committed, and a player.
// @ts-check
import { getJson } from "./api.js";
import { find } from "./dom.js";
import { state, update, watch } from "./state.js";

/** @type {{name: string, step: number, epoch: number|null, attempt?: number, version?: string}[]} */
let known = [];
let live = false;
let playing = 0;
let message = /** @type {string|null} */ (null);

const LIVE_MS = 1000;
const QUIET_MS = 3000; // a finished run changes no more, a model in memory now and then: this notices, and when the server has gone
const PLAY_MS = 700;

export const checkpoints = () => known;
export const checkpointMessage = () => message;
/** Weights of a committed checkpoint never change; those of a model in somebody's notebook do. @param {string} name */
export const unchanging = (name) => name !== "" && name !== "current";

/** @param {{name: string, step: number, epoch: number|null}|undefined} one */
export function labelOf(one) {
  if (!one) return "";
  const at = [one.step !== null && one.step !== undefined ? `step ${one.step}` : "", one.epoch !== null && one.epoch !== undefined ? `epoch ${one.epoch}` : ""];
  return at.filter(Boolean).join(", ") || one.name;
}

let wasGone = false;
let lookAgain = () => {};

/** Some other request found nobody: look every second from now on. */
export function noticeGone() {
  wasGone = true;
  lookAgain();
}

/** Weights of a model in memory are other ones now, under the same name. */
let moved = false;

/** Ask once. @returns {Promise<boolean>} whether the list changed */
export async function loadCheckpoints() {
  const answer = await getJson("/api/checkpoints");
  const first = !known.length;
  const names = (/** @type {any[]} */ list) => list.map((one) => [one.name, one.version]).join();
  const changed = names(answer.checkpoints) !== names(known);
  moved = !first && answer.checkpoints.at(-1)?.version !== known.at(-1)?.version;
  const was = known.findIndex((one) => one.name === state.checkpoint);
  known = answer.checkpoints;
  message = answer.message ?? null;
  if (first && answer.live && !state.checkpoint) update({ follow: true });
  live = Boolean(answer.live);
  showRun(answer);
  const newest = known.at(-1)?.name ?? "";
  if (state.follow || !state.checkpoint) update({ checkpoint: newest });
  else if (!known.some((one) => one.name === state.checkpoint)) {
    // Retention removed the one being shown: stay as near to it as possible.
    if (first && known.length) message = [message, "The checkpoint of this link is not there any more."].filter(Boolean).join(" · ");
    update({ checkpoint: known[Math.max(0, Math.min(was, known.length - 1))]?.name ?? newest });
  }
  show();
  return changed;
}

/** @param {any} answer */
function showRun(answer) {
  const several = known.length > 1 || live || (answer.state ?? null) !== null;
  find("checkpoints").hidden = !several;
  const pill = find("run-state");
  pill.textContent = answer.state ?? (live ? "live" : "");
  pill.dataset.state = answer.state ?? "";
  pill.hidden = !pill.textContent;
}

function show() {
  const slider = find("checkpoint-slider");
  const at = known.findIndex((one) => one.name === state.checkpoint);
  slider.max = String(Math.max(0, known.length - 1));
  slider.value = String(Math.max(0, at));
  slider.disabled = known.length < 2;
  slider.setAttribute("aria-valuetext", labelOf(known[at]) || "no checkpoint yet");
  find("checkpoint-label").textContent = known.length ? `${labelOf(known[at])}${known.length > 1 ? ` (${at + 1} of ${known.length})` : ""}` : (message ?? "no checkpoint yet");
  find("follow").checked = state.follow;
  find("play").disabled = known.length < 2;
  const other = find("other-checkpoint");
  other.max = slider.max;
  other.value = String(Math.max(0, known.findIndex((one) => one.name === state.otherCheckpoint)));
  find("other-checkpoint-text").textContent = labelOf(known[Number(other.value)]);
}

/** @param {number} by */
export function stepCheckpoint(by) {
  const at = known.findIndex((one) => one.name === state.checkpoint);
  const next = known[Math.max(0, Math.min(known.length - 1, at + by))];
  if (next) update({ checkpoint: next.name, follow: state.follow && by > 0 && next === known.at(-1) });
}

export function togglePlay() {
  if (playing) return stopPlaying();
  if (known.length < 2) return;
  const last = known.at(-1)?.name;
  update({ follow: false, checkpoint: state.checkpoint === last ? known[0].name : state.checkpoint });
  find("play").textContent = "❚❚";
  find("play").setAttribute("aria-label", "Stop playing");
  playing = window.setInterval(() => {
    if (state.checkpoint === known.at(-1)?.name) stopPlaying();
    else stepCheckpoint(1);
  }, PLAY_MS);
}

function stopPlaying() {
  clearInterval(playing);
  playing = 0;
  find("play").textContent = "▶";
  find("play").setAttribute("aria-label", "Play through the checkpoints");
}

/** Look again and again while the tab is seen. @param {{back: () => void, gone: (error: unknown) => void, changed: (weightsMoved: boolean) => void}} tell */
export function keepLooking(tell) {
  let timer = 0;
  const look = async () => {
    clearTimeout(timer);
    if (document.hidden) return; // looked at again when the tab is
    try {
      const changed = await loadCheckpoints();
      if (wasGone) tell.back();
      else if (changed) tell.changed(moved);
      wasGone = false;
    } catch (error) {
      wasGone = true;
      tell.gone(error);
    }
    clearTimeout(timer);
    timer = window.setTimeout(look, live || wasGone ? LIVE_MS : QUIET_MS);
  };
  document.addEventListener("visibilitychange", look);
  lookAgain = () => {
    clearTimeout(timer);
    timer = window.setTimeout(look, LIVE_MS);
  };
  lookAgain();
}

export function startCheckpoints() {
  find("checkpoint-slider").addEventListener("input", () => {
    stopPlaying();
    const name = known[Number(find("checkpoint-slider").value)]?.name;
    if (name) update({ checkpoint: name, follow: false });
  });
  find("follow").addEventListener("change", () => {
    const follow = find("follow").checked;
    update(follow && known.length ? { follow, checkpoint: known.at(-1)?.name } : { follow });
  });
  find("play").addEventListener("click", togglePlay);
  find("other-checkpoint").addEventListener("input", () => update({ otherCheckpoint: known[Number(find("other-checkpoint").value)]?.name ?? "" }));
  watch(["checkpoint", "otherCheckpoint", "follow"], show);
}
