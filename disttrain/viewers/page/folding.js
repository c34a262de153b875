// A folded model gives back the height it took: everything below it moves up, so the drawing stays without holes.
// @ts-check

const FOLDED = 46; // px, as high as a layer

/** How each height of the drawing moves when these frames are folded.
 * @param {{nodes: any[]}} graph @param {Set<string>} folded @returns {(y: number) => number} */
export function foldedFrames(graph, folded) {
  const cuts = graph.nodes.filter((node) => folded.has(node.id) && alone(graph, node) && ![...folded].some((other) => node.id.startsWith(`${other}/`)));
  const spans = cuts.map((node) => ({ top: node.y - node.height / 2, height: node.height }));
  return (y) => {
    let moved = y;
    for (const { top, height } of spans) {
      const inside = Math.min(Math.max(y - top, 0), height);
      moved -= inside * (1 - FOLDED / height);
    }
    return moved;
  };
}

/** Whether nothing stands beside a frame, which would be squeezed with it. @param {{nodes: any[]}} graph @param {any} frame */
function alone(graph, frame) {
  const [top, bottom] = [frame.y - frame.height / 2, frame.y + frame.height / 2];
  return graph.nodes.every((node) => {
    const around = frame.id === node.id || node.id.startsWith(`${frame.id}/`) || frame.id.startsWith(`${node.id}/`);
    return around || node.y + node.height / 2 <= top || node.y - node.height / 2 >= bottom;
  });
}

/** A node where it stands after folding. @param {any} node @param {(y: number) => number} shift */
export function moved(node, shift) {
  const [top, bottom] = [shift(node.y - node.height / 2), shift(node.y + node.height / 2)];
  return { x: node.x, width: node.width, y: (top + bottom) / 2, height: bottom - top };
}

/** @param {{nodes: any[], height: number}} graph @param {Set<string>} folded */
export const heightTaken = (graph, folded) => foldedFrames(graph, folded)(graph.height);
