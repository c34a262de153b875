// Feature maps: all of them on one canvas, painted into one block of pixels.
// @ts-check
import { chosen, ends, table } from "./colours.js";
import { readable } from "./dom.js";
import { extent, levels, nameOf, rangeOf, valueAt } from "./numbers.js";

/** @typedef {import("./api.js").Packed} Packed */

/** Columns, and how much each number is magnified (or, below 1, skipped) so that the maps fill the place. @param {any} header @param {import("./numbers.js").Look} look */
function arrange(header, look) {
  if (header.labels || header.count === 1) return arranged(header, look, header.labels ? 18 : 0);
  const numbered = arranged(header, look, 13);
  return numbered.across >= 30 * look.unit ? numbered : arranged(header, look, 0); // below that a number is wider than its map
}

/** @param {any} header @param {import("./numbers.js").Look} look @param {number} below room under each map */
function arranged({ count, width, height }, look, below) {
  const gap = Math.round((Math.max(width, height) < 12 ? 6 : 2) * look.unit); // between coarse maps, such as filters, a thin line is lost
  const caption = Math.round(below * look.unit);
  const least = 24 * look.unit; // smaller than this, a map is a stain
  const whole = 64 * look.unit; // a map up to this size keeps every number, though one has to scroll
  const fits = (/** @type {number} */ zoom) => {
    const columns = Math.max(1, Math.floor((look.width + gap) / (Math.round(width * zoom) + gap)));
    return { zoom, columns, tall: Math.ceil(count / columns) * (Math.round(height * zoom) + gap + caption) };
  };
  const widest = look.width / width;
  const steps = [1 / 8, 1 / 6, 1 / 5, 1 / 4, 1 / 3, 1 / 2, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80].filter((zoom) => zoom <= widest);
  // Of the sizes that fill a row exactly, those that magnify enough not to distort: a number is 2 pixels wide here and 3 there.
  for (let columns = 1; columns <= Math.min(count, 64); columns++) {
    const zoom = Math.floor((look.width - gap * (columns - 1)) / columns) / width;
    if (zoom >= 3 && zoom <= 80) steps.push(zoom);
  }
  if (!steps.length) steps.push(widest);
  steps.sort((one, other) => one - other);
  let best = fits(steps[0]);
  for (const zoom of steps) {
    const next = fits(zoom);
    const size = Math.max(width, height) * zoom;
    if (next.tall <= look.height || size <= least || (zoom <= 1 && size <= whole)) best = next;
  }
  const [across, down] = [Math.max(1, Math.round(width * best.zoom)), Math.max(1, Math.round(height * best.zoom))];
  return { columns: Math.min(best.columns, count), across, down, gap, caption };
}

/** Paint a pack; the answer tells what is under a point. @param {HTMLCanvasElement} canvas @param {Packed} pack @param {import("./numbers.js").Look} look @returns {import("./numbers.js").HitTest} */
export function drawAtlas(canvas, pack, look) {
  const { header } = pack;
  const { columns, across, down, gap, caption } = arrange(header, look);
  const rows = Math.ceil(header.count / columns);
  const [stepX, stepY] = [across + gap, down + gap + caption];
  canvas.width = Math.max(1, columns * stepX - gap);
  canvas.height = Math.max(1, rows * stepY - gap);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  const colour = chosen(look.colour, extent([pack])[0] < 0);
  const palette = table(colour, look.dark);
  const fromX = Int32Array.from({ length: across }, (_, x) => Math.min(header.width - 1, Math.floor(((x + 0.5) * header.width) / across)));
  const fromY = Int32Array.from({ length: down }, (_, y) => Math.min(header.height - 1, Math.floor(((y + 0.5) * header.height) / down)));

  for (let map = 0; map < header.count; map++) {
    const corner = Math.floor(map / columns) * stepY * canvas.width + (map % columns) * stepX;
    const paint = header.channels === 3 ? coloured(pack, map) : looked(pack, map, look, colour, palette);
    let before = -1;
    for (let y = 0; y < down; y++) {
      const start = corner + y * canvas.width;
      if (fromY[y] === before) pixels.copyWithin(start, start - canvas.width, start - canvas.width + across); // a magnified row repeats
      else for (let x = 0, row = fromY[y] * header.width; x < across; x++) pixels[start + x] = paint(row + fromX[x]);
      before = fromY[y];
    }
  }
  context.putImageData(image, 0, 0);
  if (caption) captions(context, header, look, columns, stepX, stepY, down);

  return (x, y) => {
    const [column, row] = [Math.floor(x / stepX), Math.floor(y / stepY)];
    const map = row * columns + column;
    const [inX, inY] = [Math.floor(x - column * stepX), Math.floor(y - row * stepY)];
    if (column < 0 || column >= columns || map < 0 || map >= header.count || inX >= across || inY >= down || inX < 0 || inY < 0) return null;
    const [atX, atY] = [fromX[inX], fromY[inY]];
    const at = (atY * header.width + atX) * header.channels;
    const values = Array.from({ length: header.channels }, (_, channel) => valueAt(pack, map, at + channel));
    return { map, row: atY, column: atX, value: values[0], text: `${nameOf(header, map)}, row ${atY}, column ${atX}: ${values.map(readable).join(", ")}` };
  };
}

/** @param {Packed} pack @param {number} map @param {import("./numbers.js").Look} look @param {string} colour @param {Uint32Array} palette */
function looked(pack, map, look, colour, palette) {
  const [low, high] = ends(...rangeOf(look, pack.header, map), colour);
  const { part, through } = levels(pack, map, low, high);
  if (!through) return (/** @type {number} */ at) => palette[part[at]];
  const pixelOf = Uint32Array.from(through, (level) => palette[level]);
  return (/** @type {number} */ at) => pixelOf[part[at]];
}

/** Three channels are red, green and blue. @param {Packed} pack @param {number} map */
function coloured(pack, map) {
  const { part, through } = levels(pack, map, pack.header.minimum[map], pack.header.maximum[map]);
  const level = (/** @type {number} */ at) => (through ? through[part[at]] : part[at]);
  return (/** @type {number} */ at) => ((255 << 24) | (level(at * 3 + 2) << 16) | (level(at * 3 + 1) << 8) | level(at * 3)) >>> 0;
}

/** @param {CanvasRenderingContext2D} context @param {any} header @param {import("./numbers.js").Look} look @param {number} columns @param {number} stepX @param {number} stepY @param {number} down */
function captions(context, header, look, columns, stepX, stepY, down) {
  context.font = `${(header.labels ? 12 : 10) * look.unit}px system-ui, sans-serif`;
  context.fillStyle = header.labels ? look.ink : look.faint;
  for (let map = 0; map < header.count; map++) {
    context.fillText(header.labels ? nameOf(header, map) : String(header.start + map), (map % columns) * stepX, Math.floor(map / columns) * stepY + down + (header.labels ? 13 : 11) * look.unit, stepX);
  }
}
