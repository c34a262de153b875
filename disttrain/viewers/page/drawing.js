// Inputs made by hand: a drawing pad for small pictures, text and numbers for the other models.
// @ts-check
import { base64 } from "./api.js";
import { find } from "./dom.js";
import { give } from "./inputs.js";

/** Size of what is sent. @type {[number, number]} */
let wanted = [280, 280];
let kind = "text";

/** Offer what suits the model. @param {any} model answer of /api/model */
export function offerMaking(model) {
  const input = model.inputs?.[0];
  if (!input) return;
  const [, height, width, channels] = input.shape;
  find("draw").hidden = !(input.kind === "image" && model.inputs.length === 1);
  // The server places a digit as MNIST does, which goes well from the whole pad; other pictures keep their proportions.
  const digit = (channels ?? 1) === 1 && height === width && height <= 64;
  if (height && width && !digit) wanted = [Math.min(width, 280), Math.min(height, 280)];
  const words = { tokens: "Text", series: "Numbers, one time step a line", vector: "Numbers, separated by spaces or commas", other: "Numbers" };
  find("type-input").hidden = !(input.kind in words);
  kind = input.kind === "tokens" ? "text" : "numbers";
  find("typed-label").textContent = `${words[/** @type {keyof words} */ (input.kind)] ?? "Text"} (the model takes ${input.shape.slice(1).map((/** @type {any} */ size) => size ?? "any").join(" × ")})`;
}

/** Send the pad, made as small as the model's input. */
function send() {
  const [width, height] = wanted;
  const small = new OffscreenCanvas(width, height);
  const context = /** @type {any} */ (small.getContext("2d"));
  context.imageSmoothingQuality = "high";
  context.drawImage(find("pad"), 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const grey = Uint8Array.from({ length: width * height }, (_, at) => data[at * 4]);
  return give({ kind: "drawing", width, height, pixels: base64(grey) }, { quiet: true });
}

function clear() {
  const context = find("pad").getContext("2d");
  context.fillStyle = "#000"; // white strokes on black, as in MNIST
  context.fillRect(0, 0, 280, 280);
}

function startPad() {
  const pad = find("pad");
  const context = pad.getContext("2d");
  let drawing = false;
  clear();
  const at = (/** @type {PointerEvent} */ event) => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * pad.width, ((event.clientY - box.top) / box.height) * pad.height];
  };
  const line = (/** @type {PointerEvent} */ event) => {
    context.lineTo(...at(event));
    context.stroke();
  };
  pad.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    drawing = true;
    pad.setPointerCapture(event.pointerId);
    Object.assign(context, { lineCap: "round", lineJoin: "round", strokeStyle: "#fff", lineWidth: Number(find("pen").value) });
    context.beginPath();
    context.moveTo(...at(event));
    line(event); // a dot is a stroke too
  });
  pad.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => drawing && line(event));
  for (const name of ["pointerup", "pointercancel"]) {
    pad.addEventListener(name, () => {
      if (drawing) send();
      drawing = false;
    });
  }
  find("pad-clear").addEventListener("click", clear);
}

/** Numbers as people write them: spaces, commas, lines, or JSON. @param {string} text */
export function numbersOf(text) {
  const trimmed = text.trim();
  if (trimmed.startsWith("[")) return JSON.parse(trimmed);
  const rows = trimmed.split(/\n+/).map((row) => row.split(/[\s,;]+/).filter(Boolean).map(Number));
  const wrong = rows.flat().some(Number.isNaN);
  if (wrong || !rows.flat().length) throw new Error("expected numbers, separated by spaces, commas or lines");
  return rows.length === 1 ? rows[0] : rows;
}

/** @param {(message: string) => void} complain */
export function startDrawing(complain) {
  startPad();
  /** @param {string} button @param {string} panel @param {string} focus */
  const opens = (button, panel, focus) => {
    const show = (/** @type {boolean} */ shown) => {
      find(panel).hidden = !shown;
      find(button).setAttribute("aria-expanded", String(shown));
      find(shown ? focus : button).focus();
    };
    find(button).addEventListener("click", () => show(find(panel).hidden));
    find(panel).addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && (event.stopPropagation(), show(false)));
    return show;
  };
  const pad = opens("draw", "drawing", "pad");
  const typing = opens("type-input", "typing", "typed");
  find("pad-close").addEventListener("click", () => pad(false));
  find("typing-close").addEventListener("click", () => typing(false));
  find("typed").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && event.ctrlKey && find("typing").requestSubmit());
  find("typing").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const text = find("typed").value;
    try {
      give(kind === "text" ? { kind, text } : { kind, values: numbersOf(text) });
    } catch (error) {
      complain(error instanceof Error ? error.message : String(error));
    }
  });
}
