import { BufferTarget, StreamTarget, type Target } from 'mediabunny';

/** Where a film is written. */
export interface Store {
  target: Target;
  /** What was written, once the output is finalized. */
  blob(type: string): Promise<Blob>;
  /** Forget what was written. */
  discard(): Promise<void>;
}

const FOLDER = 'films';

/** A file of the browser's own, so that a long film needs no memory; else memory. */
export async function openStore(): Promise<Store> {
  try {
    return await openFile();
  } catch {
    // Private windows and old browsers have no such files.
    return openMemory();
  }
}

function openMemory(): Store {
  const target = new BufferTarget();
  return {
    target,
    blob: async (type) => new Blob([target.buffer!], { type }),
    discard: async () => {},
  };
}

async function openFile(): Promise<Store> {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle(FOLDER, { create: true });
  await removeOld(folder);
  const name = crypto.randomUUID();
  await lock(name);
  const handle = await folder.getFileHandle(name, { create: true });
  const target = new StreamTarget(await handle.createWritable(), { chunked: true });
  return {
    target,
    blob: async (type) => {
      const file = await handle.getFile();
      return file.slice(0, file.size, type);
    },
    // Where it is still being written, the next visit removes it.
    discard: () => folder.removeEntry(name).catch(() => {}),
  };
}

/** Hold a lock for as long as the page is open: it may save the film at any time. */
function lock(name: string): Promise<void> {
  return new Promise((resolve) => {
    navigator.locks.request(name, () => {
      resolve();
      return new Promise(() => {});
    });
  });
}

/** Remove the films of pages that were closed. */
async function removeOld(folder: FileSystemDirectoryHandle): Promise<void> {
  const { held = [] } = await navigator.locks.query();
  const open = new Set(held.map((lock) => lock.name));
  for await (const name of folder.keys()) {
    if (!open.has(name)) await folder.removeEntry(name);
  }
}
