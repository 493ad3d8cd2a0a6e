import { expect, test } from 'vitest';
import type { Face } from '../src/engine/types.ts';
import {
  addFaces,
  coveredBoxes,
  DEFAULTS,
  describe,
  type Item,
  mergeRegions,
} from '../src/items.ts';
import { boxesJson } from '../src/save/boxes.ts';
import { unique, withEnding } from '../src/save/names.ts';

const FACES: Face[] = [
  { box: [60, 10, 80, 30], score: 0.9 },
  { box: [10, 12, 30, 32], score: 0.8 },
  { box: [10, 70, 30, 90], score: 0.3 },
];

function item(): Item {
  const state = {
    state: 'ready',
    saved: false,
    thumb: null,
    video: null,
    milliseconds: 1,
  } as const;
  const size = { width: 100, height: 100, regions: mergeRegions([], FACES, 100) };
  return { id: 1, name: 'a.png', file: new File([], 'a.png'), ...size, ...state };
}

test('faces are in reading order, and the threshold hides the unsure', () => {
  const image = item();
  expect(image.regions.map((region) => region.box[0])).toEqual([10, 60, 10]);
  expect(coveredBoxes(image, DEFAULTS)).toHaveLength(2);
  expect(coveredBoxes(image, { ...DEFAULTS, threshold: 0.2 })).toHaveLength(3);
  expect(describe(image, DEFAULTS)).toBe('2 faces, all covered');
});

test('what was kept or added outlives another detection', () => {
  const image = item();
  image.regions[0].kept = true;
  image.regions.push({ id: 99, box: [0, 0, 5, 5], score: 1, kept: false, added: true });
  image.regions = mergeRegions(image.regions, [{ box: [11, 12, 31, 33], score: 0.7 }], 100);
  expect(image.regions.map(({ kept, added }) => [kept, added])).toEqual([
    [true, false],
    [false, true],
  ]);
  expect(describe(image, DEFAULTS)).toBe('2 faces, 1 covered, 1 kept');
});

test('faces of a second look join the others, and replace those that were unsure', () => {
  const image = item();
  image.regions[0].kept = true;
  const faces: Face[] = [
    { box: [11, 71, 31, 91], score: 0.6 },
    { box: [35, 10, 55, 30], score: 0.7 },
  ];
  image.regions = addFaces(image.regions, faces, 100);
  expect(image.regions.map(({ box, score, kept }) => [box[0], score, kept])).toEqual([
    [10, 0.8, true],
    [35, 0.7, false],
    [60, 0.9, false],
    [11, 0.6, false],
  ]);
});

test('boxes are lines as those of extd detect --json', () => {
  const image = item();
  image.regions[1].kept = true;
  expect(JSON.parse(boxesJson([image], DEFAULTS))).toEqual({
    path: 'a.png',
    width: 100,
    height: 100,
    faces: [{ box: [10, 12, 30, 32], score: 0.8 }],
    kept: [{ box: [60, 10, 80, 30], score: 0.9 }],
  });
});

test('names keep their stems, and no two are the same', () => {
  expect(withEnding('a.b.HEIC', 'jpg')).toBe('a.b.jpg');
  expect(withEnding('photo', 'png')).toBe('photo.png');
  expect(withEnding('.jpg', 'png')).toBe('.jpg.png');
  expect(unique(['a.jpg', 'A.jpg', 'b', 'a.jpg'])).toEqual([
    'a.jpg',
    'A (2).jpg',
    'b',
    'a (3).jpg',
  ]);
});
