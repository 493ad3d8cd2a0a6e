import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Plugin } from 'vite';

const WORKER = 'sw.js';

/** Tells the service worker of a build which files the page consists of. */
export function offline(): Plugin {
  let folder = '';
  return {
    name: 'offline',
    apply: 'build',
    configResolved({ root, build }) {
      folder = resolve(root, build.outDir);
    },
    closeBundle() {
      const files = readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name !== WORKER)
        .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
        .map((name) => name.replaceAll('\\', '/'))
        .sort();
      const hash = createHash('sha256');
      for (const file of files) hash.update(file).update(readFileSync(join(folder, file)));
      const version = `extd-${hash.digest('hex').slice(0, 12)}`;
      const list = JSON.stringify(JSON.stringify({ version, files }));
      const path = join(folder, WORKER);
      // The minifier chooses the quotes.
      const source = readFileSync(path, 'utf8').replace(/(['"`])__FILES__\1/, () => list);
      writeFileSync(path, source);
    },
  };
}
