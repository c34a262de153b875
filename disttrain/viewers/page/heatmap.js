// Heat maps with axes: units over time, gates, and who attends to whom.
// @ts-check
import { chosen, ends, table } from "./colours.js";
import { readable } from "./dom.js";
import { extent, levels, nameOf, rangeOf, valueAt } from "./numbers.js";

/** Paint each map of a pack into a cell with axes; the answer tells what is under a point.
 * @param {HTMLCanvasElement} canvas @param {import("./api.js").Packed} pack @param {import("./numbers.js").Look} look @returns {import("./numbers.js").HitTest} */
export function drawHeatmap(canvas, pack, look) {
  const { header } = pack;
  const unit = look.unit;
  const square = header.view === "attention";
  const [left, bottom, top, gap] = [34 * unit, 30 * unit, header.count > 1 || header.labels ? 20 * unit : 4 * unit, 14 * unit];
  const columns = square ? squareColumns(header.count, look) : Math.max(1, Math.min(header.count, 2, Math.floor(look.width / (300 * unit))));
  const rows = Math.ceil(header.count / columns);
  const cellWidth = Math.floor((look.width - gap * (columns - 1)) / columns);
  const across = cellWidth - left;
  const fair = look.height / rows - top - bottom - gap;
  const wanted = square ? (across * header.height) / header.width : Math.min(header.height * 14 * unit, Math.max(fair, header.height * 2 * unit));
  const down = Math.floor(Math.max(60 * unit, Math.min(wanted, square && fair > 120 * unit ? fair : wanted)));
  const cellHeight = down + top + bottom + gap;
  canvas.width = Math.floor(look.width);
  canvas.height = Math.floor(rows * cellHeight - gap);

  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingEnabled = false;
  const wide = square ? Math.min(across, (down * header.width) / header.height) : across;
  const [down_, across_] = axes(header);
  for (let map = 0; map < header.count; map++) {
    const x = (map % columns) * (cellWidth + gap) + left;
    const y = Math.floor(map / columns) * cellHeight + top;
    // Gates lie between 0 and 1, candidates around 0: what has a name of its own has colours of its own.
    const colour = chosen(look.colour, (header.labels ? header.minimum[map] : extent([pack])[0]) < 0);
    context.drawImage(painted(pack, map, look, colour, table(colour, look.dark)), x, y, wide, down);
    context.font = `${12 * unit}px system-ui, sans-serif`;
    context.fillStyle = look.ink;
    if (top > 10 * unit) context.fillText(nameOf(header, map), x, y - 6 * unit, wide);
    context.fillStyle = look.faint;
    context.font = `${11 * unit}px system-ui, sans-serif`;
    ticks(header.width, wide / header.width, 34 * unit, (index, place) => {
      context.textAlign = "center";
      context.fillText(String(index), x + place, y + down + 13 * unit);
    });
    ticks(header.height, down / header.height, 18 * unit, (index, place) => {
      context.textAlign = "right";
      context.fillText(String(index), x - 5 * unit, y + place + 4 * unit);
    });
    context.textAlign = "center";
    context.fillText(across_, x + wide / 2, y + down + 26 * unit);
    context.save();
    context.translate(x - left + 10 * unit, y + down / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(down_, 0, 0);
    context.restore();
    context.textAlign = "left";
  }
  return (px, py) => {
    const [column, row] = [Math.floor(px / (cellWidth + gap)), Math.floor(py / cellHeight)];
    const map = row * columns + column;
    const inX = Math.floor(((px - column * (cellWidth + gap) - left) / wide) * header.width);
    const inY = Math.floor(((py - row * cellHeight - top) / down) * header.height);
    if (map >= header.count || column >= columns || inX < 0 || inY < 0 || inX >= header.width || inY >= header.height) return null;
    const value = valueAt(pack, map, inY * header.width + inX);
    const name = header.count > 1 || header.labels ? `${nameOf(header, map)}, ` : "";
    return { map, row: inY, column: inX, value, text: `${name}${down_} ${inY}, ${across_} ${inX}: ${readable(value)}` };
  };
}

/** How many columns make squares the largest. @param {number} count @param {import("./numbers.js").Look} look */
function squareColumns(count, look) {
  const size = (/** @type {number} */ columns) => Math.min(look.width / columns, Math.max(look.height / Math.ceil(count / columns), 190 * look.unit));
  const all = Array.from({ length: Math.max(1, Math.min(count, Math.floor(look.width / (150 * look.unit)))) }, (_, at) => at + 1);
  return all.reduce((best, columns) => (size(columns) > size(best) ? columns : best));
}

/** What goes down and what goes across, in words. @param {any} header */
function axes({ axes: given, view }) {
  if (view === "attention") return ["from", "to"];
  if (given?.length >= 2) return given.slice(-2);
  return ["unit", "time step"];
}

/** @param {import("./api.js").Packed} pack @param {number} map @param {import("./numbers.js").Look} look @param {string} colour @param {Uint32Array} palette */
function painted(pack, map, look, colour, palette) {
  const { header } = pack;
  const [low, high] = ends(...rangeOf(look, header, map), colour);
  const { part, through } = levels(pack, map, low, high);
  const image = new ImageData(header.width, header.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let at = 0; at < pixels.length; at++) pixels[at] = palette[through ? through[part[at]] : part[at]];
  const small = new OffscreenCanvas(header.width, header.height);
  small.getContext("2d")?.putImageData(image, 0, 0);
  return small;
}

/** Call `put` for as many indices as have room. @param {number} count @param {number} step @param {number} room @param {(index: number, place: number) => void} put */
function ticks(count, step, room, put) {
  const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((size) => size * step >= room) ?? count;
  for (let index = 0; index < count; index += every) put(index, (index + 0.5) * step);
}
