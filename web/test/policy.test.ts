import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');

test('the page asks for the policy that `extd web` sends', () => {
  const content = /"Content-Security-Policy" content="([^"]+)"/.exec(read('../index.html'))![1];
  const lines = /_POLICY = \{(.*?)\n\}/s.exec(read('../../src/extd/page.py'))![1];
  const sent = [...lines.matchAll(/"([\w-]+)": "([^"]+)"/g)]
    // Browsers ignore it in a page.
    .filter(([, name]) => name !== 'frame-ancestors')
    .map(([, name, value]) => `${name} ${value}`);
  expect(sent).not.toEqual([]);
  expect(content.split('; ').toSorted()).toEqual(sent.toSorted());
});
