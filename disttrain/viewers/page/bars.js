// Vectors: one bar a unit, wrapped into rows when there are many.
// @ts-check
import { readable } from "./dom.js";
import { valueAt } from "./numbers.js";

/** @param {HTMLCanvasElement} canvas @param {import("./api.js").Packed} pack @param {import("./numbers.js").Look} look @returns {import("./numbers.js").HitTest} */
export function drawBars(canvas, pack, look) {
  const { header } = pack;
  const unit = look.unit;
  const values = Array.from({ length: header.count * header.width * header.height }, (_, at) => {
    const size = header.width * header.height;
    return valueAt(pack, Math.floor(at / size), at % size);
  });
  const order = values.map((_, index) => index);
  if (look.order === "value") order.sort((one, other) => values[other] - values[one]);
  const named = header.labels?.length === values.length ? header.labels : null;

  const left = 48 * unit;
  const room = look.width - left;
  const perRow = Math.min(values.length, Math.max(1, Math.floor(room / (5 * unit))));
  const rows = Math.ceil(values.length / perRow);
  const step = Math.min(room / perRow, 40 * unit);
  const caption = 20 * unit;
  const tall = Math.floor(Math.max(64 * unit, Math.min(300 * unit, look.height / rows - caption - 8 * unit)));
  canvas.width = Math.floor(look.width);
  canvas.height = Math.floor(rows * (tall + caption + 8 * unit));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const [least, most] = look.shared ?? [Math.min(...header.minimum), Math.max(...header.maximum)];
  const [low, high] = [Math.min(0, least), Math.max(0, most)];
  const place = (/** @type {number} */ value) => 6 * unit + (1 - (value - low) / (high - low || 1)) * (tall - 12 * unit);
  context.font = `${11 * unit}px system-ui, sans-serif`;

  for (let row = 0; row < rows; row++) {
    const y = row * (tall + caption + 8 * unit);
    context.fillStyle = look.faint;
    context.textAlign = "right";
    for (const mark of new Set([low, 0, high])) context.fillText(readable(mark), left - 6 * unit, y + place(mark) + 4 * unit, left - 8 * unit);
    context.fillRect(left, y + place(0), Math.min(room, perRow * step), Math.max(1, unit / 2));
    context.textAlign = "center";
    const every = Math.max(1, Math.ceil((36 * unit) / step));
    for (let at = 0; at < perRow && row * perRow + at < values.length; at++) {
      const index = order[row * perRow + at];
      const value = values[index];
      const [top, foot] = [place(Math.max(0, value)), place(Math.min(0, value))];
      context.fillStyle = value < 0 ? (look.dark ? "#4a9be0" : "#2f6fb5") : look.dark ? "#ef8a62" : "#c8512b";
      context.fillRect(left + at * step, y + top, Math.max(1, step - Math.min(2 * unit, step * 0.2)), Math.max(unit, foot - top));
      context.fillStyle = look.faint;
      if (at % every === 0) context.fillText(named ? named[index] : String(index), left + (at + 0.5) * step, y + tall + 12 * unit, step * every);
    }
    context.textAlign = "left";
  }
  return (px, py) => {
    const row = Math.floor(py / (tall + caption + 8 * unit));
    const at = Math.floor((px - left) / step);
    const index = order[row * perRow + at];
    if (at < 0 || at >= perRow || row < 0 || index === undefined) return null;
    return { map: 0, row, column: index, value: values[index], text: `${named ? named[index] : `unit ${index}`}: ${readable(values[index])}` };
  };
}
