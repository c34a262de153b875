// What is inside a packed answer: values, ranges, one map out of many.
// @ts-check
/** @typedef {import("./api.js").Packed} Packed */

/** The value at a place of a map, as near as the packing kept it. @param {Packed} pack @param {number} map @param {number} at index into the map's numbers */
export function valueAt({ header, data }, map, at) {
  const stored = data[map * header.height * header.width * header.channels + at];
  if (header.dtype === "float32") return stored;
  return header.minimum[map] + (stored / 255) * (header.maximum[map] - header.minimum[map]);
}

/** Lowest and highest of all maps of all packs. @param {Packed[]} packs @returns {[number, number]} */
export function extent(packs) {
  let low = Infinity;
  let high = -Infinity;
  for (const { header } of packs) {
    for (const value of header.minimum) if (value < low) low = value;
    for (const value of header.maximum) if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}

/** One map alone, as a pack of its own. @param {Packed} pack @param {number} map */
export function only({ header, data }, map) {
  const size = header.height * header.width * header.channels;
  return {
    header: { ...header, start: header.start + map, count: 1, minimum: [header.minimum[map]], maximum: [header.maximum[map]], labels: header.labels ? [header.labels[map]] : null },
    data: data.subarray(map * size, (map + 1) * size),
  };
}

/** What a map is called. @param {any} header @param {number} map */
export function nameOf(header, map) {
  if (header.labels?.[map] !== undefined && header.labels?.[map] !== null) return header.labels[map];
  const one = { filters: "filter", attention: "head" }[/** @type {string} */ (header.view)] ?? (header.form === "lines" ? "line" : "map");
  return `${one} ${header.start + map}`;
}

/** Bytes of a map as indices 0-255 into a colour table whose ends are `low` and `high`. @param {Packed} pack @param {number} map @param {number} low @param {number} high */
export function levels({ header, data }, map, low, high) {
  const size = header.height * header.width * header.channels;
  const part = data.subarray(map * size, (map + 1) * size);
  const step = 255 / (high - low || 1);
  if (header.dtype === "float32") return { part: Uint8ClampedArray.from(part, (value) => (value - low) * step), through: null };
  // A byte stands for one value, so 256 look-ups stand for all of the map's numbers.
  const [least, range] = [header.minimum[map], (header.maximum[map] - header.minimum[map]) / 255];
  return { part, through: Uint8ClampedArray.from({ length: 256 }, (_, byte) => (least + byte * range - low) * step) };
}

/** The values between which a map is coloured: those agreed with another side, those of all maps, or its own. @param {Look} look @param {any} header @param {number} map @returns {[number, number]} */
export const rangeOf = (look, header, map) => look.ranges?.[map] ?? look.shared ?? [header.minimum[map], header.maximum[map]];

/** @typedef {{width: number, height: number, unit: number, shared: [number, number]|null, ranges?: [number, number][]|null, colour: string, dark: boolean, order: string, ink: string, faint: string}} Look */
/** @typedef {{map: number, text: string, row?: number, column?: number, value?: number}} Hit */
/** @typedef {(x: number, y: number) => Hit|null} HitTest */
