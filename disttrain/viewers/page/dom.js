// Short ways to make and find elements; text is always set as text, so a layer's name can never become markup.
// @ts-check

/** @param {string} id @returns {any} */
export const find = (id) => document.getElementById(id);

/** Make an element: properties that exist are set, others become attributes.
 * @param {string} tag @param {Record<string, any>} [given] @param {...(Node|string)} children @returns {any} */
export function make(tag, given = {}, ...children) {
  const made = /** @type {any} */ (document.createElement(tag));
  set(made, given);
  made.append(...children);
  return made;
}

/** @param {any} element @param {Record<string, any>} given */
function set(element, given) {
  for (const [name, value] of Object.entries(given)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, String(value));
    else element[name] = value;
  }
}

/** Make an SVG element from attributes. @param {string} tag @param {Record<string, any>} [given] @param {...(Node|string)} children */
export function svg(tag, given = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** A number a person can read: four significant digits, no needless zeros. @param {number|null|undefined} value */
export function readable(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "not a number";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/** @param {number} value */
export const counted = (value) => value.toLocaleString("en-US");

/** A shape as people write it; the batch axis is left out. @param {(number|null)[]} shape */
export const shapeText = (shape) => shape.slice(1).map((size) => size ?? "?").join(" × ") || "one number";

/** Read a colour of the style sheet. @param {string} name */
export const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const still = matchMedia("(prefers-reduced-motion: reduce)");
export const motionWanted = () => !still.matches;
