/** From files to pixels, by what the browser can decode. */

import type { Item } from './items.ts';

/** From here on images are refused: decoded, they take 400 MB and more. */
export const MAX_PIXELS = 100e6;
/** Longer side in pixels of what is drawn on the page. */
const PREVIEW_SIDE = 2048;
const THUMB_SIDE = 168;
/** Previews kept, so that going back and forth is instant. */
const PREVIEWS = 4;
const FIRST_FRAME_TIMEOUT = 10_000;

/** Width and height of an upright image, from its header.
 * @throws Error that says why the image cannot be taken. */
export async function measure(file: File): Promise<{ width: number; height: number }> {
  const url = URL.createObjectURL(file);
  const image = new Image();
  try {
    // An image element reads the header first, while createImageBitmap decodes all pixels.
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = () => reject(new Error(unreadable(file)));
      image.src = url;
    });
    const { naturalWidth: width, naturalHeight: height } = image;
    if (width * height >= MAX_PIXELS) {
      const megapixels = Math.round((width * height) / 1e6);
      throw new Error(`it has ${megapixels} megapixels; this page takes less than 100.`);
    }
    return { width, height };
  } finally {
    URL.revokeObjectURL(url);
  }
}

function unreadable({ name, type }: File): string {
  return /hei[cf]$/i.test(type || name)
    ? 'this browser cannot open HEIC; save it as JPEG or PNG first.'
    : 'this browser cannot open it: it is damaged or of an unknown format.';
}

/** All pixels of an image, upright, or the first frame of a video; the caller closes them. */
export async function decode(item: Item): Promise<ImageBitmap> {
  if (item.video) return await firstFrame(item.file);
  try {
    return await createImageBitmap(item.file, { imageOrientation: 'from-image' });
  } catch (error) {
    throw new Error('this browser cannot decode it: it is damaged or too large.', {
      cause: error,
    });
  }
}

async function firstFrame(file: Blob): Promise<ImageBitmap> {
  const url = URL.createObjectURL(file);
  const video = document.createElement('video');
  try {
    await new Promise((resolve, reject) => {
      video.onloadeddata = resolve;
      video.onerror = () => reject(new Error('this browser cannot play it'));
      setTimeout(() => reject(new Error('its first frame did not come')), FIRST_FRAME_TIMEOUT);
      video.muted = true;
      video.preload = 'auto';
      video.src = url;
    });
    return await createImageBitmap(video);
  } finally {
    video.removeAttribute('src');
    URL.revokeObjectURL(url);
  }
}

/** The image on a canvas with that longer side at most. */
export function shrink(source: ImageBitmap | HTMLCanvasElement, side: number): HTMLCanvasElement {
  const scale = Math.min(1, side / Math.max(source.width, source.height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(source.width * scale));
  canvas.height = Math.max(1, Math.round(source.height * scale));
  const context = canvas.getContext('2d')!;
  context.imageSmoothingQuality = 'high';
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas;
}

export function toPreview(bitmap: ImageBitmap): HTMLCanvasElement {
  return shrink(bitmap, PREVIEW_SIDE);
}

export function toThumb(preview: HTMLCanvasElement): HTMLCanvasElement {
  return shrink(preview, THUMB_SIDE);
}

export interface Previews {
  /** The preview at once if it is there. */
  peek(item: Item): HTMLCanvasElement | undefined;
  /** The preview, decoded if it must be. */
  get(item: Item): Promise<HTMLCanvasElement>;
  put(item: Item, preview: HTMLCanvasElement): void;
}

export function createPreviews(): Previews {
  const kept = new Map<number, HTMLCanvasElement>();
  const put = (item: Item, preview: HTMLCanvasElement) => {
    kept.delete(item.id);
    kept.set(item.id, preview);
    if (kept.size > PREVIEWS) kept.delete(kept.keys().next().value!);
  };
  return {
    peek: (item) => kept.get(item.id),
    put,
    async get(item) {
      const known = kept.get(item.id);
      const preview = known ?? toPreviewAndClose(await decode(item));
      put(item, preview);
      return preview;
    },
  };
}

function toPreviewAndClose(bitmap: ImageBitmap): HTMLCanvasElement {
  const preview = toPreview(bitmap);
  bitmap.close();
  return preview;
}
