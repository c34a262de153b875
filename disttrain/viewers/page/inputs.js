// The strip of inputs: thumbnails with search and pages, upload by button or drop.
// @ts-check
import { Refused, address, base64, getJson, latest, postJson } from "./api.js";
import { find, make } from "./dom.js";
import { state, update, watch } from "./state.js";

const PAGE = 40;
const MOST_BYTES = 6e6; // base64 makes a third more of it, and the server takes 8 MB
const ask = latest();
let offset = 0;
let total = 0;
/** Inputs of this tab (drawn, typed, uploaded), which come first. @type {{id: string, name: string, kind: string, label: string|null}[]} */
const mine = [];
/** @type {any[]} */
let listed = [];
/** Inputs of a link that are on another page of the list. @type {any[]} */
const elsewhere = [];
/** @type {(message: string) => void} */
let complain = () => {};

/** @param {string} id */
export const pictureOf = (id) => `/api/inputs/${encodeURIComponent(id)}/picture`;
/** @param {string} id */
export const inputName = (id) => [...mine, ...listed, ...elsewhere].find((item) => item.id === id)?.name ?? id;

/** Load a page of the list; choose the first input if none is chosen. */
export async function loadInputs() {
  const search = find("input-search").value.trim();
  const answer = await ask((signal) => getJson(address("/api/inputs", { search, offset, limit: PAGE }), signal));
  if (!answer) return null;
  total = answer.total;
  listed = answer.items;
  find("input-note").textContent = answer.pictures ?? "";
  show(answer);
  if (!state.input && listed.length) update({ input: listed[0].id });
  return answer;
}

/** What a link names may be gone: an upload of a viewer that was started again, a file deleted since. The first of the list is shown instead.
 * @returns {Promise<string>} what to tell about that, or "" */
export async function forgetLostInputs() {
  const gone = new Set();
  for (const id of new Set([state.input, state.other])) {
    if (!id || [...mine, ...listed].some((item) => item.id === id)) continue;
    try {
      elsewhere.push(await getJson(`/api/inputs/${encodeURIComponent(id)}`));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      gone.add(id);
    }
  }
  if (!gone.size) return "";
  const first = listed[0]?.id ?? "";
  update({ ...(gone.has(state.input) ? { input: first } : {}), ...(gone.has(state.other) ? { other: first } : {}) });
  return `The input of this link is not there any more${first ? `; ${listed[0].name} is shown instead` : ""}.`;
}

/** Which inputs the two sides of a comparison have. @returns {Record<string, string>} */
const marks = () => ({ [state.input]: state.compare === "inputs" ? "A" : "", ...(state.compare === "inputs" && state.other ? { [state.other]: state.other === state.input ? "AB" : "B" } : {}) });

/** @param {any} [answer] */
function show(answer) {
  const list = find("input-list");
  const shown = [...mine, ...listed.filter((item) => !mine.some((own) => own.id === item.id))];
  list.replaceChildren(...shown.map(card));
  if (!shown.length && answer) list.append(make("p", { className: "quiet strip-message", textContent: answer.message ?? `No inputs in ${answer.folder ?? "the folder"}.` }));
  else if (answer?.message) list.append(make("p", { className: "quiet strip-message", textContent: answer.message }));
  find("inputs-back").hidden = offset === 0;
  find("inputs-next").hidden = offset + PAGE >= total;
  mark();
}

/** @param {any} item */
function card(item) {
  const name = item.label !== null && item.label !== undefined ? `${item.name} (${item.label})` : item.name;
  const button = make("button", { type: "button", className: "card", title: name, role: "option", "aria-label": name, tabIndex: -1 });
  button.dataset.input = item.id;
  const picture = make("img", { src: pictureOf(item.id), alt: "", loading: "lazy", draggable: false });
  // Some inputs have no picture (text): the name is what is shown then.
  picture.addEventListener("error", () => picture.replaceWith(make("span", { className: "glyph", textContent: item.kind === "text" ? "Aa" : "•••" })));
  button.append(picture, make("span", { className: "card-name", textContent: item.label ?? item.name.replace(/^.*\//, "").replace(/\.(png|jpe?g|bmp|gif|webp|tiff?|npy|npz)$/i, "") }));
  button.addEventListener("click", () => choose(item.id));
  return button;
}

/** @param {string} id */
export function choose(id) {
  if (state.compare === "inputs" && state.side === "b") update({ other: id });
  else update({ input: id });
}

function mark() {
  const named = marks();
  let focusable = /** @type {HTMLElement|null} */ (null);
  for (const card of /** @type {NodeListOf<HTMLElement>} */ (find("input-list").querySelectorAll(".card"))) {
    const id = card.dataset.input ?? "";
    card.setAttribute("aria-selected", String(id in named));
    card.dataset.mark = named[id] ?? "";
    card.tabIndex = -1;
    if (id === state.input || !focusable) focusable = card;
  }
  if (focusable) focusable.tabIndex = 0; // one stop for Tab; the arrows do the rest
}

/** Hand an input to the server, which keeps it in memory, and show it. @param {any} body @param {{quiet?: boolean}} [options] */
export async function give(body, { quiet = false } = {}) {
  try {
    const { id, name } = await postJson("/api/inputs", body);
    if (quiet) mine.splice(0, mine.length, ...mine.filter((item) => item.kind !== body.kind)); // strokes of one drawing replace each other
    mine.unshift({ id, name, kind: body.kind, label: null });
    mine.length = Math.min(mine.length, 12);
    show();
    choose(id);
    find("input-list").scrollTo({ left: 0 });
    return id;
  } catch (error) {
    complain(error instanceof Error ? error.message : String(error));
    return null;
  }
}

/** @param {FileList|File[]} files */
async function upload(files) {
  for (const file of [...files].slice(0, 12)) {
    if (file.size > MOST_BYTES) complain(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB; at most ${MOST_BYTES / 1e6} MB can be uploaded. Put it into the input folder instead.`);
    else await give({ kind: "file", name: file.name, data: base64(await file.arrayBuffer()) });
  }
}

/** @param {(message: string) => void} say */
export function startInputs(say) {
  complain = say;
  const again = () => loadInputs().catch((error) => complain(error.message));
  let typing = 0;
  find("input-search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = window.setTimeout(() => ((offset = 0), again()), 150);
  });
  find("inputs-back").addEventListener("click", () => ((offset = Math.max(0, offset - PAGE)), again()));
  find("inputs-next").addEventListener("click", () => ((offset += PAGE), again()));
  find("upload").addEventListener("click", () => find("upload-file").click());
  find("upload-file").addEventListener("change", () => upload(find("upload-file").files).then(() => (find("upload-file").value = "")));
  find("input-list").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const cards = [...find("input-list").querySelectorAll(".card")];
    const next = cards[cards.indexOf(document.activeElement) + (by ?? 0)];
    if (!by || !next) return;
    event.preventDefault();
    next.focus();
    next.click();
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault(); // otherwise the browser would leave the page to show the file
    document.body.classList.remove("dropping");
    if (event.dataTransfer?.files.length) upload(event.dataTransfer.files);
  });
  watch(["input", "other", "compare"], mark);
}
