// Colour maps as tables of packed pixels, so that drawing a map is one look-up a number.
// @ts-check

const VIRIDIS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"];
const GREY = ["000000", "ffffff"];
const DIVERGING_LIGHT = ["053061", "2166ac", "6bacd1", "d1e5f0", "f7f7f7", "fddbc7", "ef8a62", "b2182b", "67001f"];
const DIVERGING_DARK = ["9bd4ff", "4a9be0", "2166ac", "1d3a5c", "15171c", "5c2323", "b2382b", "ef8a62", "ffd2b8"];

/** @type {Map<string, Uint32Array>} */
const tables = new Map();

/** 256 pixels, ready for a Uint32Array over image data (little-endian: alpha, blue, green, red). @param {string} name @param {boolean} dark */
export function table(name, dark) {
  const key = name === "diverging" && dark ? "diverging-dark" : name;
  let made = tables.get(key);
  if (!made) tables.set(key, (made = between({ viridis: VIRIDIS, grey: GREY, diverging: DIVERGING_LIGHT, "diverging-dark": DIVERGING_DARK }[key] ?? VIRIDIS)));
  return made;
}

/** @param {string[]} anchors */
function between(anchors) {
  const colours = anchors.map((text) => [0, 2, 4].map((at) => parseInt(text.slice(at, at + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, index) => {
    const place = (index / 255) * (colours.length - 1);
    const low = Math.min(Math.floor(place), colours.length - 2);
    const [red, green, blue] = [0, 1, 2].map((part) => Math.round(colours[low][part] + (place - low) * (colours[low + 1][part] - colours[low][part])));
    return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  });
}

/** Which colour map, given what the person asked for and whether there are values on both sides of zero. @param {string} asked @param {boolean} signed */
export const chosen = (asked, signed) => (asked === "auto" ? (signed ? "diverging" : "viridis") : asked);

/** The numbers at both ends of the colour map: around zero when the colours diverge there. @param {number} low @param {number} high @param {string} name */
export function ends(low, high, name) {
  if (name === "diverging") {
    const size = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return [-size, size];
  }
  return low === high ? [low, low + 1] : [low, high];
}

/** A pixel as CSS. @param {number} pixel */
export const css = (pixel) => `rgb(${pixel & 255}, ${(pixel >> 8) & 255}, ${(pixel >> 16) & 255})`;

export const isDark = () => {
  const set = document.documentElement.dataset.theme;
  return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};
