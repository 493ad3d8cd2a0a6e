/** Resizing as Pillow does it, to the last bit: the network sees what it sees in Python. */

/** 8 bits a channel, without padding: `data` has `width * height * channels` bytes. */
export interface Pixels {
  data: Uint8Array;
  width: number;
  height: number;
  channels: number;
}

type Kernel = { support: number; weight: (x: number) => number };

/** Bits after the point of Pillow's weights. */
const PRECISION = 22;

const BILINEAR: Kernel = { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) };
const BICUBIC: Kernel = { support: 2, weight: cubic };

function cubic(x: number): number {
  const a = -0.5;
  const t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  if (t < 2) return (((t - 5) * t + 8) * t - 4) * a;
  return 0;
}

/**
 * Resample pixels to a width and height, as `extd.images.resize`: shrinking averages blocks of
 * whole pixels, then is bicubic; enlarging is bilinear. The same object where the size is its own.
 */
export function resize(pixels: Pixels, width: number, height: number): Pixels {
  if (pixels.width === width && pixels.height === height) return pixels;
  const factor = Math.min(Math.floor(pixels.width / width), Math.floor(pixels.height / height));
  if (factor === 0) {
    return resample(pixels, width, height, pixels.width, pixels.height, BILINEAR);
  }
  const right = pixels.width / factor;
  const bottom = pixels.height / factor;
  return resample(reduce(pixels, factor), width, height, right, bottom, BICUBIC);
}

/** Means of blocks of `factor` by `factor` pixels; blocks at the right and bottom may be smaller. */
export function reduce(pixels: Pixels, factor: number): Pixels {
  if (factor === 1) return pixels;
  const { data, channels } = pixels;
  const width = Math.ceil(pixels.width / factor);
  const height = Math.ceil(pixels.height / factor);
  const result = new Uint8Array(width * height * channels);
  const sums = new Uint32Array(width * channels);
  for (let y = 0; y < height; y++) {
    const rows = Math.min(factor, pixels.height - y * factor);
    sums.fill(0);
    for (let row = y * factor; row < y * factor + rows; row++) {
      addRow(sums, data, row * pixels.width * channels, pixels.width, channels, factor);
    }
    for (let x = 0, at = 0; x < width; x++) {
      const count = rows * Math.min(factor, pixels.width - x * factor);
      // Pillow divides so.
      const multiplier = Math.floor(Math.fround(2 ** 32 / (256 * count)));
      const half = count >> 1;
      for (let channel = 0; channel < channels; channel++, at++) {
        result[y * width * channels + at] = Math.floor(((sums[at] + half) * multiplier) / 2 ** 24);
      }
    }
  }
  return { data: result, width, height, channels };
}

function addRow(
  sums: Uint32Array,
  data: Uint8Array,
  start: number,
  width: number,
  channels: number,
  factor: number,
): void {
  let at = start;
  for (let x = 0, block = 0, left = factor; x < width; x++) {
    for (let channel = 0; channel < channels; channel++) sums[block + channel] += data[at++];
    if (--left === 0) {
      left = factor;
      block += channels;
    }
  }
}

/** The part of the pixels from 0, 0 to `right`, `bottom`, resampled first across, then down. */
function resample(
  pixels: Pixels,
  width: number,
  height: number,
  right: number,
  bottom: number,
  kernel: Kernel,
): Pixels {
  let result = pixels;
  if (result.width !== width || right !== result.width) {
    result = acrossRows(result, weights(result.width, right, width, kernel));
  }
  if (result.height !== height || bottom !== result.height) {
    result = downColumns(result, weights(result.height, bottom, height, kernel));
  }
  return result;
}

/** For each pixel of a line the first that it is made of, and the weights of these. */
interface Weights {
  first: Int32Array;
  counts: Int32Array;
  /** `most` a pixel. */
  values: Int32Array;
  most: number;
}

function weights(side: number, end: number, wanted: number, kernel: Kernel): Weights {
  const scale = end / wanted;
  const stretch = Math.max(scale, 1);
  const support = kernel.support * stretch;
  const most = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(wanted);
  const counts = new Int32Array(wanted);
  const values = new Int32Array(wanted * most);
  const exact = new Float64Array(most);
  for (let i = 0; i < wanted; i++) {
    const center = (i + 0.5) * scale;
    first[i] = Math.max(Math.trunc(center - support + 0.5), 0);
    counts[i] = Math.min(Math.trunc(center + support + 0.5), side) - first[i];
    let sum = 0;
    for (let j = 0; j < counts[i]; j++) {
      exact[j] = kernel.weight((j + first[i] - center + 0.5) / stretch);
      sum += exact[j];
    }
    for (let j = 0; j < counts[i]; j++) {
      const value = (exact[j] / sum) * 2 ** PRECISION;
      values[i * most + j] = Math.trunc(value + (value < 0 ? -0.5 : 0.5));
    }
  }
  return { first, counts, values, most };
}

function clip8(sum: number): number {
  return Math.min(Math.max(sum >> PRECISION, 0), 255);
}

function acrossRows(pixels: Pixels, { first, counts, values, most }: Weights): Pixels {
  const { data, height, channels } = pixels;
  const width = first.length;
  const result = new Uint8Array(width * height * channels);
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const start = (y * pixels.width + first[x]) * channels;
      for (let channel = 0; channel < channels; channel++) {
        let sum = 1 << (PRECISION - 1);
        for (let j = 0, from = start + channel; j < counts[x]; j++, from += channels) {
          sum += data[from] * values[x * most + j];
        }
        result[at++] = clip8(sum);
      }
    }
  }
  return { data: result, width, height, channels };
}

function downColumns(pixels: Pixels, { first, counts, values, most }: Weights): Pixels {
  const { data, width, channels } = pixels;
  const height = first.length;
  const stride = width * channels;
  const result = new Uint8Array(stride * height);
  const sums = new Int32Array(stride);
  for (let y = 0; y < height; y++) {
    sums.fill(1 << (PRECISION - 1));
    for (let j = 0; j < counts[y]; j++) {
      const weight = values[y * most + j];
      const start = (first[y] + j) * stride;
      for (let x = 0; x < stride; x++) sums[x] += data[start + x] * weight;
    }
    for (let x = 0; x < stride; x++) result[y * stride + x] = clip8(sums[x]);
  }
  return { data: result, width, height, channels };
}
