// What the person has chosen: one object, told to whoever watches, and kept in the address so that a link or a reload comes back to it.
// @ts-check

/** Keys that a link carries; the others are habits of this tab. */
const LINKED = ["layer", "input", "checkpoint", "view", "compare", "other", "otherCheckpoint", "method", "target"];

/** @type {Record<string, any>} */
const empty = {
  layer: "", input: "", checkpoint: "", view: "", compare: "", other: "", otherCheckpoint: "", method: "gradcam", target: "",
  colour: "auto", scale: "map", order: "index", opacity: 65, side: "a", start: 0, enlarged: null, follow: false,
};
/** @type {Record<string, any>} */
export const state = { ...empty, ...fromAddress() };

/** @type {{keys: Set<string>, tell: (changed: Set<string>) => void}[]} */
const watchers = [];

/** Call `tell` after any of `keys` changed. @param {string[]} keys @param {(changed: Set<string>) => void} tell */
export function watch(keys, tell) {
  watchers.push({ keys: new Set(keys), tell });
}

/** Set several at once, so that watchers see one change and ask the server once. @param {Record<string, any>} changes */
export function update(changes) {
  const changed = new Set(Object.keys(changes).filter((key) => state[key] !== changes[key]));
  if (!changed.size) return;
  // Maps further on, or one map enlarged, belong to the layer and view they were chosen in.
  if (changed.has("layer") || changed.has("view")) Object.assign(changes, { start: 0, enlarged: null, ...changes });
  for (const key of Object.keys(changes)) if (state[key] !== changes[key]) changed.add(key);
  Object.assign(state, changes);
  toAddress();
  for (const { keys, tell } of watchers) if ([...changed].some((key) => keys.has(key))) tell(changed);
}

function fromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(LINKED.filter((key) => given.has(key)).map((key) => [key, given.get(key)]));
}

function toAddress() {
  const kept = new URLSearchParams();
  for (const key of LINKED) {
    // While the newest is followed, a link means "the newest", not the one of this second.
    if (key === "checkpoint" && state.follow) continue;
    if (state[key] && state[key] !== empty[key]) kept.set(key, state[key]);
  }
  const hash = kept.toString() ? `#${kept}` : "";
  if (hash !== location.hash) history.replaceState(null, "", hash || location.pathname);
}

/** What a link to a layer leaves open stays as it is. */
const keptByLinks = () => ({ input: state.input, checkpoint: state.checkpoint, view: "activations" });
addEventListener("hashchange", () => update({ ...Object.fromEntries(LINKED.map((key) => [key, empty[key]])), ...keptByLinks(), ...fromAddress() }));
