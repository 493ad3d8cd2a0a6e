/** The browser's private files that covered videos are written to. */

const FOLDER = 'videos';

export interface VideoFile {
  handle: FileSystemFileHandle;
  remove(): Promise<void>;
}

/** @throws DOMException in private windows, TypeError in old browsers. */
export async function createFile(): Promise<VideoFile> {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle(FOLDER, { create: true });
  const name = crypto.randomUUID();
  await lock(name);
  const handle = await folder.getFileHandle(name, { create: true });
  // If this fails, the next visit removes it.
  return { handle, remove: () => folder.removeEntry(name).catch(() => {}) };
}

/** Hold a lock for as long as the page is open: it may save the video at any time. */
function lock(name: string): Promise<void> {
  return new Promise((resolve) => {
    navigator.locks.request(name, () => {
      resolve();
      return new Promise(() => {});
    });
  });
}

/** Remove the videos of pages that were closed. */
export async function removeOldFiles(): Promise<void> {
  try {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle(FOLDER);
    const names: string[] = [];
    for await (const name of folder.keys()) names.push(name);
    // Asked after the list is read: a file is locked before it is created.
    const { held = [] } = await navigator.locks.query();
    const open = new Set(held.map((lock) => lock.name));
    for (const name of names) if (!open.has(name)) await folder.removeEntry(name);
  } catch {
    // No video was ever written here, or another page removes them now.
  }
}
