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

/** All images in a ZIP archive, one decoded at a time.
 * @param onEach told the count of those that are in. */
export async function encodeAll(
  items: Item[],
  settings: Settings,
  onEach: (count: number) => void,
): Promise<Blob> {
  const parts: Blob[] = [];
  let failure: Error | null = null;
  const zip = new Zip((error, data) => {
    // Blobs may lie on the disk, arrays are in memory.
    if (error) failure = error;
    else parts.push(new Blob([data as BlobPart]));
  });
  const names = unique(items.map((item) => savedName(item, settings)));
  for (const [index, item] of items.entries()) {
    // Images are compressed already.
    const entry = new ZipPassThrough(names[index]);
    zip.add(entry);
    entry.push(new Uint8Array(await (await encode(item, settings)).arrayBuffer()), true);
    onEach(index + 1);
  }
  zip.end();
  if (failure) throw failure;
  return new Blob(parts, { type: 'application/zip' });
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
