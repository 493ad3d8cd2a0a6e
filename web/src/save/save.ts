/** Images saved with their faces covered: new files, without anything else of the old ones. */

import { Zip, ZipPassThrough } from 'fflate';
import { cover } from '../cover/cover.ts';
import { uncovered } from '../cover/uncovered.ts';
import { decode } from '../decode.ts';
import type { Engine } from '../engine/engine.ts';
import type { Face } from '../engine/types.ts';
import { type Item, type Settings, shownRegions } from '../items.ts';
import { unique, withEnding } from './names.ts';

const ENDINGS = { jpeg: 'jpg', png: 'png' } as const;

/** An image that is ready to be saved. */
export interface Encoded {
  blob: Blob;
  /** Faces that a second look found, which are covered, too. */
  more: Face[];
}

/**
 * An image in full size with its faces covered. The detector looks at the result, too, and what
 * it still finds there is covered, as `extd blur` does.
 *
 * @throws Error if the browser cannot hold or encode the image, or the detector fails.
 */
export async function encode(
  item: Item,
  settings: Settings,
  engine: Promise<Engine>,
): Promise<Encoded> {
  const { style, margin, quality } = settings;
  // They may be changed while the image is decoded.
  const regions = shownRegions(item, settings).map(({ box, kept }) => ({ box, kept }));
  const covered = regions.filter(({ kept }) => !kept).map(({ box }) => box);
  const kept = regions.filter((region) => region.kept).map(({ box }) => box);
  const context = await draw(item, settings);
  const { canvas } = context;
  cover(context, covered, style, margin);
  // After a failed search only boxes added by hand are covered; without covers it finds nothing new.
  const again = item.state === 'ready' && covered.length > 0;
  const found = again ? await detectIn(canvas, settings, engine) : [];
  const more = uncovered(found, covered, kept, margin);
  const boxes = more.map(({ box }) => box);
  cover(context, boxes, style, margin);
  const type = `image/${settings.format}`;
  const blob = await canvas.convertToBlob({ type, quality });
  if (blob.type !== type) throw new Error(`this browser cannot write ${settings.format}`);
  return { blob, more };
}

async function draw(item: Item, { format }: Settings): Promise<OffscreenCanvasRenderingContext2D> {
  const bitmap = await decode(item);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('this browser cannot draw an image of this size');
  if (format === 'jpeg') {
    // JPEG has no transparency; it would turn black.
    context.fillStyle = '#fff';
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context;
}

async function detectIn(
  canvas: OffscreenCanvas,
  { threshold, model }: Settings,
  engine: Promise<Engine>,
): Promise<Face[]> {
  const bitmap = await createImageBitmap(canvas);
  try {
    return (await (await engine).detect(bitmap, { threshold, model })).faces;
  } finally {
    bitmap.close();
  }
}

export function savedName(item: Item, settings: Settings): string {
  return withEnding(item.name, ENDINGS[settings.format]);
}

/** Images in a ZIP archive, one decoded at a time.
 * @param onEach told each image that is in and what else was covered, or why it is not in. */
export async function encodeAll(
  items: Item[],
  settings: Settings,
  engine: Promise<Engine>,
  onEach: (item: Item, result: Encoded | Error) => void,
): Promise<Blob> {
  const parts: Blob[] = [];
  const zip = new Zip((error, data) => {
    if (error) throw error;
    // Blobs may lie on the disk, arrays are in memory.
    parts.push(new Blob([data as BlobPart]));
  });
  const names = unique(items.map((item) => savedName(item, settings)));
  for (const [index, item] of items.entries()) {
    try {
      const encoded = await encode(item, settings, engine);
      addEntry(zip, names[index], new Uint8Array(await encoded.blob.arrayBuffer()));
      onEach(item, encoded);
    } catch (error) {
      onEach(item, error instanceof Error ? error : new Error(String(error)));
    }
  }
  zip.end();
  return new Blob(parts, { type: 'application/zip' });
}

function addEntry(zip: Zip, name: string, data: Uint8Array): void {
  // Images are compressed already.
  const entry = new ZipPassThrough(name);
  // The least that ZIP can hold: not even the time of saving is told.
  entry.mtime = new Date(1980, 0, 1);
  zip.add(entry);
  entry.push(data, true);
}

/** Let the browser save a file. */
export function download(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser reads the file a while after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
