import type { Detectable } from './engine.ts';
import type { Pixels } from './resize.ts';

/** Shown through transparent pixels: neither black nor white faces vanish in it. */
const GRAY = 128;

const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext('2d', { willReadFrequently: true })!;

/** The RGB of an image, upright. */
export function readPixels(image: Detectable): Pixels {
  if (image instanceof ImageData) return toRgb(image);
  const frame = 'displayWidth' in image;
  const width = frame ? image.displayWidth : image.width;
  const height = frame ? image.displayHeight : image.height;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  } else {
    context.clearRect(0, 0, width, height);
  }
  context.drawImage(image, 0, 0, width, height);
  return toRgb(context.getImageData(0, 0, width, height));
}

/** The pixels of RGBA without their alpha; those that are transparent are blended with gray. */
export function toRgb({
  data,
  width,
  height,
}: Pick<ImageData, 'data' | 'width' | 'height'>): Pixels {
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    const alpha = data[from + 3] / 255;
    if (alpha === 1) {
      rgb[to] = data[from];
      rgb[to + 1] = data[from + 1];
      rgb[to + 2] = data[from + 2];
    } else {
      for (let i = 0; i < 3; i++) rgb[to + i] = Math.round(GRAY + (data[from + i] - GRAY) * alpha);
    }
  }
  return { data: rgb, width, height, channels: 3 };
}
