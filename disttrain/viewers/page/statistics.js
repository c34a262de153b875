// The chosen layer in numbers and plain words.
// @ts-check
import { counted, find, make, readable, styled } from "./dom.js";

/** @param {{name: string, answer: any}[]|null} sides answers of /api/statistics: one, or two when comparing; null while there is none
 * @param {string} [why] there is none */
export function showStatistics(sides, why = "Choose a layer and an input.") {
  const place = find("statistics");
  if (!sides) return place.replaceChildren(make("p", { className: "quiet", textContent: why }));
  place.replaceChildren();
  for (const { name, answer } of sides) {
    if (sides.length > 1) place.append(make("h3", { textContent: name }));
    showSide(place, answer);
  }
}

/** @param {HTMLElement} place @param {any} numbers */
function showSide(place, numbers) {
  const canvas = make("canvas", { width: 560, height: 150, className: "histogram", role: "img", "aria-label": describe(numbers) });
  const rows = [
    ["mean", readable(numbers.mean)],
    ["standard deviation", readable(numbers.deviation)],
    ["minimum", readable(numbers.minimum)],
    ["maximum", readable(numbers.maximum)],
    ["zeros", share(numbers.zero_share)],
    ["values", counted(numbers.count)],
  ];
  place.append(
    canvas,
    make("dl", { className: "facts" }, ...rows.map(([name, value]) => make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value })))),
    ...words(numbers).map(({ text, bad }) => make("p", { className: bad ? "finding bad" : "finding", textContent: text })),
  );
  drawHistogram(canvas, numbers.histogram);
}

/** @param {number|null|undefined} value */
const share = (value) => (value === null || value === undefined ? "unknown" : value === 0 ? "0 %" : `${(value * 100).toFixed(value > 0 && value < 0.01 ? 2 : value < 0.1 ? 1 : 0)} %`);

/** What a person should notice. @param {any} numbers */
function words(numbers) {
  const said = [];
  if (numbers.units && numbers.dead_units !== null && numbers.dead_units !== undefined) {
    const dead = numbers.dead_units;
    if (dead > 0) said.push({ text: `${dead} of ${numbers.units} unit${numbers.units === 1 ? "" : "s"} ${dead === 1 ? "is" : "are"} zero everywhere for this input.`, bad: dead / numbers.units > 0.5 });
    else said.push({ text: numbers.units === 1 ? "The unit responds to this input." : `All ${numbers.units} units respond to this input.`, bad: false });
  }
  if (numbers.saturated_share !== null && numbers.saturated_share !== undefined) {
    said.push({ text: `${share(numbers.saturated_share)} of the values sit at a limit of the activation.`, bad: numbers.saturated_share > 0.5 });
  }
  if (numbers.message) said.push({ text: numbers.message, bad: true });
  return said;
}

/** @param {any} numbers */
const describe = (numbers) =>
  `Histogram of ${counted(numbers.count)} values from ${readable(numbers.minimum)} to ${readable(numbers.maximum)}, mean ${readable(numbers.mean)}`;

/** @param {HTMLCanvasElement} canvas @param {{edges: number[], counts: number[]}|null} histogram */
function drawHistogram(canvas, histogram) {
  if (!histogram?.counts?.length) return;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const { edges, counts } = histogram;
  const most = Math.max(...counts, 1);
  const [wide, tall] = [canvas.width, canvas.height - 30];
  const step = wide / counts.length;
  context.fillStyle = styled("--accent");
  counts.forEach((count, at) => {
    // The root keeps the tail visible beside the many zeros that a ReLU makes.
    const size = Math.sqrt(count / most) * tall;
    context.fillRect(at * step + 1, tall - size, Math.max(1, step - 2), size);
  });
  context.fillStyle = styled("--faint");
  context.fillRect(0, tall, wide, 2);
  context.font = "22px system-ui, sans-serif";
  const [low, high] = [readable(edges[0]), readable(edges[edges.length - 1])];
  const beside = (/** @type {string} */ text) => context.measureText(text).width + 16; // a 0 nearer than that would be written over it
  context.fillText(low, 0, canvas.height - 4);
  context.textAlign = "right";
  context.fillText(high, wide, canvas.height - 4);
  const zero = ((0 - edges[0]) / (edges[edges.length - 1] - edges[0] || 1)) * wide;
  if (zero > beside(low) && zero < wide - beside(high)) {
    context.textAlign = "center";
    context.fillText("0", zero, canvas.height - 4);
    context.fillRect(zero - 1, 0, 2, tall);
  }
}
