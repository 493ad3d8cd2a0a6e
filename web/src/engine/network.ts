/** A network in ONNX Runtime: RGB in, likely faces out. As in `extd.runtime`. */

import { InferenceSession, Tensor } from 'onnxruntime-web/wasm';
import type { Pixels } from './resize.ts';
import type { Face } from './types.ts';

/** Side of a patch of the input, px, and the value of pixels beyond the image. */
const PATCH = 4;
const GRAY = 128;
/** Box offsets, log odds of a face, offsets of five landmarks. */
const LOG_ODDS = 4;
const POINTS = 5;

/** The anchors of all models that ship, as their metadata has them. */
export const ANCHORS = {
  /** Of the levels in px, finest first. */
  strides: [8, 16, 32, 64, 128],
  /** Sides of their anchors in px. */
  sizes: [32, 64, 128, 256, 512],
  /** Anchor sides by which an offset of 1 moves a box or landmark. */
  center_scale: 0.5,
  /** How much a size offset of 1 adds to the logarithm of a box's sides. */
  size_scale: 1,
};

export type Network = InferenceSession;

export function loadNetwork(model: Uint8Array): Promise<Network> {
  return InferenceSession.create(model, {
    executionProviders: ['wasm'],
    // Warnings about the graph are of no use to a reader of the console.
    logSeverityLevel: 3,
    // Patterns are kept for each size ever seen.
    enableMemPattern: false,
  });
}

/** The faces with scores above a threshold, in pixels of the image, in the order of the anchors. */
export async function runNetwork(
  network: Network,
  image: Pixels,
  threshold: number,
): Promise<Face[]> {
  const rows = Math.ceil(image.height / PATCH);
  const columns = Math.ceil(image.width / PATCH);
  const shape = [1, rows, columns, 3 * PATCH * PATCH];
  const patches = new Tensor('uint8', toPatches(image), shape);
  const { raw } = await network.run({ patches });
  try {
    return decode(raw.data as Float32Array, image.width, image.height, threshold);
  } finally {
    raw.dispose();
  }
}

/** An image of RGB as patches of 4 x 4 pixels, row by row. */
export function toPatches({ data, width, height }: Pixels): Uint8Array {
  const columns = Math.ceil(width / PATCH);
  const result = new Uint8Array(Math.ceil(height / PATCH) * columns * 3 * PATCH * PATCH);
  if (width % PATCH || height % PATCH) result.fill(GRAY);
  const line = 3 * PATCH;
  for (let y = 0; y < height; y++) {
    const row = Math.floor(y / PATCH) * columns * PATCH * line + (y % PATCH) * line;
    const end = (y + 1) * width * 3;
    for (let from = y * width * 3, to = row; from < end; to += PATCH * line) {
      const stop = Math.min(from + line, end);
      for (let at = to; from < stop; ) result[at++] = data[from++];
    }
  }
  return result;
}

function decode(raw: Float32Array, width: number, height: number, threshold: number): Face[] {
  const least = Math.log(threshold) - Math.log1p(-threshold);
  const count = raw.length / (LOG_ODDS + 1 + 2 * POINTS);
  const faces: Face[] = [];
  let begin = 0;
  for (const [level, stride] of ANCHORS.strides.entries()) {
    const columns = Math.ceil(width / stride);
    const end = begin + columns * Math.ceil(height / stride);
    for (let anchor = begin; anchor < end; anchor++) {
      if (raw[LOG_ODDS * count + anchor] <= least) continue;
      const x = (((anchor - begin) % columns) + 0.5) * stride;
      const y = (Math.floor((anchor - begin) / columns) + 0.5) * stride;
      const face = decodeFace((i) => raw[i * count + anchor], x, y, ANCHORS.sizes[level]);
      if (face.box.every(Number.isFinite)) faces.push(face);
    }
    begin = end;
  }
  return faces;
}

function decodeFace(value: (index: number) => number, x: number, y: number, side: number): Face {
  const step = ANCHORS.center_scale * side;
  const [middleX, middleY] = [x + value(0) * step, y + value(1) * step];
  const halfWidth = (side * Math.exp(value(2) * ANCHORS.size_scale)) / 2;
  const halfHeight = (side * Math.exp(value(3) * ANCHORS.size_scale)) / 2;
  return {
    box: [middleX - halfWidth, middleY - halfHeight, middleX + halfWidth, middleY + halfHeight],
    score: 1 / (1 + Math.exp(-value(LOG_ODDS))),
    landmarks: Array.from({ length: POINTS }, (_, i) => {
      const at = LOG_ODDS + 1 + 2 * i;
      return [x + value(at) * step, y + value(at + 1) * step];
    }),
  };
}
