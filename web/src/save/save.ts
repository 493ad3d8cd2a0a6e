/** Images saved with their faces covered: new files, without anything else of the old ones. */

import { Zip, ZipPassThrough } from 'fflate';
import { cover } from '../cover/cover.ts';
import { decode } from '../decode.ts';
import { coveredBoxes, type Item, type Settings } from '../items.ts';
import { unique, withEnding } from './names.ts';

const ENDINGS = { jpeg: 'jpg', png: 'png' } as const;

/** A image in full size with its faces covered.
 * @throws Error if the browser cannot hold or encode it. */
export async function encode(item: Item, settings: Settings): Promise<Blob> {
  const bitmap = await decode(item);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('this browser cannot draw an image of this size');
  if (settings.format === 'jpeg') {
    // JPEG has no transparency; it would turn black.
    context.fillStyle = '#fff';
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  cover(context, coveredBoxes(item, settings), settings.style, settings.margin);
  const type = `image/${settings.format}`;
  const blob = await canvas.convertToBlob({ type, quality: settings.quality });
  if (blob.type !== type) throw new Error(`this browser cannot write ${settings.format}`);
  return blob;
}

export function savedName(item: Item, settings: Settings): string {
  return withEnding(item.name, ENDINGS[settings.format]);
}

/** Images in a ZIP archive, one decoded at a time.
 * @param onEach told each image that is in, or why it is not. */
export async function encodeAll(
  items: Item[],
  settings: Settings,
  onEach: (item: Item, failure: unknown) => void,
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
      const blob = await encode(item, settings);
      addEntry(zip, names[index], new Uint8Array(await blob.arrayBuffer()));
      onEach(item, null);
    } catch (error) {
      onEach(item, error);
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
