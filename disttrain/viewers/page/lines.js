// Signals: one small curve a unit, all on one canvas.
// @ts-check
import { chosen, css, ends, table } from "./colours.js";
import { readable } from "./dom.js";
import { extent, nameOf, rangeOf, valueAt } from "./numbers.js";

/** @param {HTMLCanvasElement} canvas @param {import("./api.js").Packed} pack @param {import("./numbers.js").Look} look @returns {import("./numbers.js").HitTest} */
export function drawLines(canvas, pack, look) {
  const { header } = pack;
  const unit = look.unit;
  const gap = 8 * unit;
  const alone = header.count === 1;
  const columns = alone ? 1 : Math.max(1, Math.min(header.count, Math.floor(look.width / (150 * unit))));
  const rows = Math.ceil(header.count / columns);
  const wide = Math.floor((look.width - gap * (columns - 1)) / columns);
  const caption = 16 * unit;
  const tall = Math.floor(Math.max(44 * unit, Math.min(alone ? look.height - caption : 110 * unit, look.height / rows - gap - caption)));
  canvas.width = Math.floor(look.width);
  canvas.height = Math.floor(rows * (tall + caption + gap));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const signed = extent([pack])[0] < 0;
  const palette = table(chosen(look.colour, signed), look.dark);
  context.font = `${11 * unit}px system-ui, sans-serif`;
  context.lineJoin = "round";

  for (let map = 0; map < header.count; map++) {
    const x = (map % columns) * (wide + gap);
    const y = Math.floor(map / columns) * (tall + caption + gap) + caption;
    const [low, high] = ends(...rangeOf(look, header, map), "line");
    const place = (/** @type {number} */ value) => y + tall - 3 * unit - ((value - low) / (high - low)) * (tall - 6 * unit);
    context.fillStyle = look.faint;
    context.fillText(nameOf(header, map), x, y - 4 * unit, wide);
    context.strokeStyle = look.faint;
    context.globalAlpha = 0.35;
    context.lineWidth = unit;
    context.strokeRect(x + 0.5, y + 0.5, wide - 1, tall - 1);
    if (low < 0 && high > 0) {
      context.beginPath(); // zero, where the sign turns
      context.moveTo(x, place(0));
      context.lineTo(x + wide, place(0));
      context.stroke();
    }
    context.globalAlpha = 1;
    context.strokeStyle = look.colour === "grey" ? look.ink : css(palette[look.dark ? 170 : 90]);
    if (look.colour === "auto" || look.colour === "diverging") context.strokeStyle = look.dark ? "#7db3ff" : "#2f5fd0";
    context.lineWidth = (alone ? 2 : 1.4) * unit;
    context.beginPath();
    const step = header.width > 1 ? (wide - 2) / (header.width - 1) : 0;
    for (let at = 0; at < header.width; at++) {
      const [px, py] = [x + 1 + at * step, place(valueAt(pack, map, at))];
      if (at) context.lineTo(px, py);
      else context.moveTo(px, py);
    }
    context.stroke();
  }
  return (px, py) => {
    const [column, row] = [Math.floor(px / (wide + gap)), Math.floor(py / (tall + caption + gap))];
    const map = row * columns + column;
    const inX = px - column * (wide + gap);
    if (column >= columns || map >= header.count || inX > wide) return null;
    const at = Math.max(0, Math.min(header.width - 1, Math.round((inX / wide) * (header.width - 1))));
    const value = valueAt(pack, map, at);
    return { map, row: 0, column: at, value, text: `${nameOf(header, map)}, step ${at}: ${readable(value)}` };
  };
}
