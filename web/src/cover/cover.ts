/** Faces covered so that nobody recognizes them, as `extd blur` covers them. */

import { area, type Box, grow, longerSide } from '../engine/boxes.ts';
import { type Pixels, resize } from '../engine/resize.ts';

/** Whoever knows the candidates can tell some blurred faces apart; `solid` leaves nothing. */
export type CoverStyle = 'blur' | 'mosaic' | 'solid';

/** Standard deviation of the Gaussian, as a share of the face's longer side. */
const BLUR = 1 / 6;
/** Cells along the face's longer side. */
const CELLS = 4;
/** Pixels below which sigma and a cell never are, so that tiny faces go too. */
const MIN_SIGMA = 2;
const MIN_CELL = 4;
/** Standard deviation in pixels that a patch is shrunk to, where the Gaussian is cheap. */
const SMALL_SIGMA = 4;

/**
 * Cover the ellipses around boxes.
 *
 * @param boxes in pixels of the canvas; parts beyond it do not matter.
 * @param margin how far the cover extends beyond the box on each side, as a share of the box's own
 *   side; from 0.21 on the ellipse contains the whole box.
 */
export function cover(
  context: CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D,
  boxes: Box[],
  style: CoverStyle,
  margin: number,
): void {
  const { width, height } = context.canvas;
  // The largest first, each from what the canvas shows by then: a weaker blur over a stronger one
  // would bring the face back.
  const covers = boxes.map((box) => ({ side: longerSide(box), box: grow(box, margin) }));
  for (const { side, box } of covers.sort((a, b) => area(b.box) - area(a.box))) {
    // A pixel more, for the soft edge of the ellipse.
    const x1 = Math.max(Math.floor(box[0]) - 1, 0);
    const y1 = Math.max(Math.floor(box[1]) - 1, 0);
    const x2 = Math.min(Math.ceil(box[2]) + 1, width);
    const y2 = Math.min(Math.ceil(box[3]) + 1, height);
    if (x1 >= x2 || y1 >= y2) continue;
    const patch = context.getImageData(x1, y1, x2 - x1, y2 - y1);
    const [left, top, right, bottom] = box;
    coverPatch(patch, [left - x1, top - y1, right - x1, bottom - y1], side, style);
    context.putImageData(patch, x1, y1);
  }
}

/** Cover the ellipse in `box` of a patch of RGBA, in place, for a face of that longer side. */
export function coverPatch(
  patch: Pick<ImageData, 'data' | 'width' | 'height'>,
  box: Box,
  side: number,
  style: CoverStyle,
): void {
  const { data, width, height } = patch;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const hidden = replacement({ data: bytes, width, height, channels: 4 }, side, style);
  const radiusX = Math.max((box[2] - box[0]) / 2, 0.5);
  const radiusY = Math.max((box[3] - box[1]) / 2, 0.5);
  for (let y = 0, at = 0; y < height; y++) {
    const down = (y + 0.5 - (box[1] + box[3]) / 2) / radiusY;
    for (let x = 0; x < width; x++, at += 4) {
      const across = (x + 0.5 - (box[0] + box[2]) / 2) / radiusX;
      // The edge fades over one pixel.
      const outside = (Math.sqrt(across * across + down * down) - 1) * Math.min(radiusX, radiusY);
      if (outside >= 1) continue;
      const share = outside <= 0 ? 1 : 1 - outside;
      for (let channel = at; channel < at + 4; channel++) {
        data[channel] += (hidden[channel] - data[channel]) * share;
      }
    }
  }
}

/** What is seen in place of a patch, of the same size. */
function replacement(patch: Pixels, side: number, style: CoverStyle): Uint8Array {
  const { width, height } = patch;
  if (style === 'blur') {
    const sigma = Math.max(side * BLUR, MIN_SIGMA);
    const factor = Math.max(1, sigma / SMALL_SIGMA);
    return resize(gaussian(shrink(patch, factor), sigma / factor), width, height).data;
  }
  if (style === 'mosaic') {
    return enlargeCells(shrink(patch, Math.max(side / CELLS, MIN_CELL)), width, height);
  }
  const black = new Uint8Array(width * height * 4);
  for (let at = 3; at < black.length; at += 4) black[at] = 255;
  return black;
}

/** The patch with about `factor` times fewer pixels a side, at least one, as their means. */
function shrink(patch: Pixels, factor: number): Pixels {
  const width = Math.max(1, Math.round(patch.width / factor));
  return resize(patch, width, Math.max(1, Math.round(patch.height / factor)));
}

function enlargeCells(cells: Pixels, width: number, height: number): Uint8Array {
  const small = new Uint32Array(cells.data.buffer, cells.data.byteOffset, cells.data.length / 4);
  const result = new Uint32Array(width * height);
  const columns = Uint32Array.from({ length: width }, (_, x) =>
    Math.floor(((x + 0.5) * cells.width) / width),
  );
  for (let y = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * cells.height) / height) * cells.width;
    for (let x = 0; x < width; x++) result[y * width + x] = small[row + columns[x]];
  }
  return new Uint8Array(result.buffer);
}

/** A Gaussian blur; pixels at the border repeat beyond it. */
function gaussian(pixels: Pixels, sigma: number): Pixels {
  const radius = Math.ceil(3 * sigma);
  const kernel = Float32Array.from({ length: 2 * radius + 1 }, (_, i) =>
    Math.exp(-((i - radius) ** 2) / (2 * sigma ** 2)),
  );
  const sum = kernel.reduce((total, weight) => total + weight, 0);
  const { data, width, height, channels } = pixels;
  const line = width * channels;
  const across = blurLines(data, kernel, sum, [height, line], [width, channels], channels);
  const result = blurLines(across, kernel, sum, [width, channels], [height, line], channels);
  return { data: Uint8Array.from(result, Math.round), width, height, channels };
}

/** Blur lines of pixels; of the lines, and of a line's pixels, the count and the distance. */
function blurLines(
  data: ArrayLike<number>,
  kernel: Float32Array,
  sum: number,
  [lines, lineStep]: [number, number],
  [count, step]: [number, number],
  channels: number,
): Float32Array {
  const radius = kernel.length >> 1;
  const result = new Float32Array(data.length);
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < count; i++) {
      for (let j = -radius; j <= radius; j++) {
        const from = line * lineStep + Math.min(Math.max(i + j, 0), count - 1) * step;
        const weight = kernel[j + radius] / sum;
        for (let channel = 0; channel < channels; channel++) {
          result[line * lineStep + i * step + channel] += data[from + channel] * weight;
        }
      }
    }
  }
  return result;
}
