import { BufferTarget, StreamTarget, type Target } from 'mediabunny';
import { createFile } from './files.ts';

/** Where a video is written. */
export interface Store {
  target: Target;
  /** What was written, once the output is finalized. */
  blob(type: string): Promise<Blob>;
  /** Forget what was written. */
  discard(): Promise<void>;
}

/** A private file of the browser, so that a long video needs no memory; else memory. */
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
  const { handle, remove } = await createFile();
  const target = new StreamTarget(await handle.createWritable(), { chunked: true });
  return {
    target,
    blob: async (type) => {
      const file = await handle.getFile();
      return file.slice(0, file.size, type);
    },
    discard: remove,
  };
}
