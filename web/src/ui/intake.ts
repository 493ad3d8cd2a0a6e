/** Files in: by dialog, drop and paste. */

import { measure } from '../decode.ts';
import { type Finder, messageOf } from '../finder.ts';
import { newItem } from '../items.ts';
import type { Store } from '../store.ts';
import { byId, onClick } from './dom.ts';
import { notify } from './notices.ts';

const VIDEO = /\.(mp4|m4v|mov|webm|mkv|ts|avi)$/i;

export type Add = (files: Iterable<File>) => Promise<void>;

/** Take files into the list, and say in a line which cannot be taken. */
export function createIntake(store: Store, finder: Finder): Add {
  const add: Add = async (files) => {
    let first = true;
    for (const file of files) {
      try {
        await addFile(store, file, first);
        first = false;
        finder.wake();
      } catch (error) {
        notify(`${file.name}: ${messageOf(error)}`);
      }
    }
  };
  const input = byId<HTMLInputElement>('files');
  for (const id of ['choose', 'bar-add']) onClick(id, () => input.click());
  input.addEventListener('change', () => {
    const files = [...(input.files ?? [])];
    // The same file can be chosen again.
    input.value = '';
    void add(files);
  });
  window.addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) event.preventDefault();
    void add(files);
  });
  addDrop(add);
  return add;
}

async function addFile(store: Store, file: File, show: boolean): Promise<void> {
  const isVideo = file.type.startsWith('video/') || VIDEO.test(file.name);
  if (isVideo && !('VideoEncoder' in window && 'VideoDecoder' in window)) {
    throw new Error('this browser has no WebCodecs, so it cannot write videos.');
  }
  const { width, height } = isVideo ? { width: 0, height: 0 } : await measure(file);
  const item = newItem(file, width, height, isVideo);
  store.change((state) => {
    state.items.push(item);
    if (!show && state.current) return;
    state.current = item;
    state.camera = false;
  });
}

function addDrop(add: Add): void {
  const overlay = byId('drop-overlay');
  let depth = 0;
  const show = (change: number) => {
    depth = Math.max(0, depth + change);
    overlay.hidden = depth === 0;
  };
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false;
  window.addEventListener('dragenter', (event) => hasFiles(event) && show(1));
  window.addEventListener('dragleave', (event) => hasFiles(event) && show(-1));
  window.addEventListener('dragover', (event) => hasFiles(event) && event.preventDefault());
  window.addEventListener('drop', (event) => {
    event.preventDefault();
    show(-depth);
    void add([...(event.dataTransfer?.files ?? [])]);
  });
}
