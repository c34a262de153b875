// Talking to the server: JSON and packed numbers; an older answer never overtakes a newer one.
// @ts-check

/** The server answered, and said no. */
export class Refused extends Error {}
/** Nobody answered. */
export class Gone extends Error {}

/** @typedef {{header: any, data: Uint8Array|Float32Array}} Packed */

/** @type {Map<string, Packed>} */
const kept = new Map();
let keptBytes = 0;
const KEEP_BYTES = 64e6;

/** @param {string} path @param {Record<string, any>} [query] */
export function address(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `${path}?${new URLSearchParams(given.map(([key, value]) => [key, String(value)]))}` : path;
}

/** @param {string} url @param {RequestInit} [options] */
async function ask(url, options = {}) {
  let answer;
  try {
    answer = await fetch(url, { cache: "no-store", credentials: "omit", ...options });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Gone("the viewer does not answer");
  }
  if (answer.ok) return answer;
  let message = `${answer.status} ${answer.statusText}`;
  try {
    message = (await answer.json()).error ?? message;
  } catch {
    // Not JSON: the status says what there is to say.
  }
  throw new Refused(message);
}

/** @param {string} url @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function getJson(url, signal) {
  return (await ask(url, { signal })).json();
}

/** @param {string} url @param {any} body @returns {Promise<any>} */
export async function postJson(url, body) {
  return (await ask(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json();
}

/** Numbers of a layer. `keep` for answers that cannot change (a committed checkpoint). @param {string} url @param {AbortSignal|undefined} signal @param {boolean} keep */
export async function getPacked(url, signal, keep) {
  const known = kept.get(url);
  if (known) {
    kept.delete(url); // put back last, as the one used most recently
    kept.set(url, known);
    return known;
  }
  const packed = decode(await (await ask(url, { signal })).arrayBuffer());
  if (keep) {
    kept.set(url, packed);
    keptBytes += packed.data.byteLength;
    for (const [oldest, dropped] of kept) {
      if (keptBytes <= KEEP_BYTES) break;
      kept.delete(oldest);
      keptBytes -= dropped.data.byteLength;
    }
  }
  return packed;
}

/** uint32 length, a JSON header, padding to 4 bytes, the numbers. @param {ArrayBuffer} buffer @returns {Packed} */
export function decode(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const at = Math.ceil((4 + length) / 4) * 4;
  const size = header.count * header.height * header.width * header.channels;
  const data = header.dtype === "float32" ? new Float32Array(buffer, at, size) : new Uint8Array(buffer, at, size);
  return { header, data };
}

/** A runner that gives up the request before when a new one starts. */
export function latest() {
  let running = new AbortController();
  /** @template T @param {(signal: AbortSignal) => Promise<T>} work @returns {Promise<T|undefined>} */
  return async (work) => {
    running.abort();
    const mine = (running = new AbortController());
    try {
      const answer = await work(mine.signal);
      return mine.signal.aborted ? undefined : answer;
    } catch (error) {
      if (mine.signal.aborted) return undefined; // somebody wants something newer: this failure is nobody's business
      throw error;
    }
  };
}

/** @param {ArrayBuffer|Uint8Array} bytes */
export function base64(bytes) {
  const view = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  let text = "";
  for (let at = 0; at < view.length; at += 0x8000) text += String.fromCharCode(...view.subarray(at, at + 0x8000));
  return btoa(text);
}
