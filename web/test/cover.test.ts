import { expect, test } from 'vitest';
import { type CoverStyle, coverPatch } from '../src/cover/cover.ts';
import { uncovered } from '../src/cover/uncovered.ts';
import type { Box } from '../src/engine/boxes.ts';

const SIDE = 60;
const STYLES: CoverStyle[] = ['blur', 'mosaic', 'solid'];

/** Black and white in lines of 3 pixels, finer than any feature of a face. */
function stripes(): { data: Uint8ClampedArray<ArrayBuffer>; width: number; height: number } {
  const data = new Uint8ClampedArray(SIDE * SIDE * 4);
  for (let i = 0; i < SIDE * SIDE; i++) {
    data.fill(Math.floor((i % SIDE) / 3) % 2 ? 255 : 0, i * 4, i * 4 + 3);
    data[i * 4 + 3] = 255;
  }
  return { data, width: SIDE, height: SIDE };
}

const level = (patch: { data: Uint8ClampedArray }, x: number, y: number) =>
  patch.data[(y * SIDE + x) * 4];

test.each(STYLES)('%s leaves nothing of the inside', (style) => {
  const patch = stripes();
  coverPatch(patch, [0, 0, SIDE, SIDE], SIDE, style);
  const row = Array.from({ length: 30 }, (_, x) => level(patch, 15 + x, 30));
  expect(Math.max(...row) - Math.min(...row)).toBeLessThan(60);
});

test.each(STYLES)('%s changes nothing outside of the ellipse', (style) => {
  const patch = stripes();
  coverPatch(patch, [10, 20, 50, 40], 40, style);
  const before = stripes();
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      const far = Math.hypot((x + 0.5 - 30) / 22, (y + 0.5 - 30) / 12) > 1;
      if (far) expect(level(patch, x, y)).toBe(level(before, x, y));
    }
  }
});

test('solid is opaque black', () => {
  const patch = stripes();
  coverPatch(patch, [0, 0, SIDE, SIDE], SIDE, 'solid');
  const middle = (30 * SIDE + 30) * 4;
  expect([...patch.data.slice(middle, middle + 4)]).toEqual([0, 0, 0, 255]);
});

test('mosaic leaves 4 cells along a face', () => {
  const patch = stripes();
  coverPatch(patch, [-SIDE, -SIDE, 2 * SIDE, 2 * SIDE], SIDE, 'mosaic');
  const levels = new Set(Array.from({ length: SIDE }, (_, x) => level(patch, x, 7)));
  expect(levels.size).toBeLessThanOrEqual(4);
  for (let x = 0; x < 15; x++) expect(level(patch, x, 0)).toBe(level(patch, 0, 14));
});

test.each(STYLES)('%s covers a face of a pixel', (style) => {
  const patch = stripes();
  coverPatch(patch, [30, 30, 30.5, 30.5], 0.5, style);
  expect(patch.data).not.toEqual(stripes().data);
});

test('a second look finds what is not under covers and not kept', () => {
  const covered: Box[] = [[0, 0, 40, 40]];
  const kept: Box[] = [[100, 0, 140, 40]];
  const at = (x: number): { box: Box } => ({ box: [x, 0, x + 40, 40] });
  const left = (margin: number, ...faces: { box: Box }[]) =>
    uncovered(faces, covered, kept, margin).map(({ box }) => box[0]);
  // The ellipse in a box has 79 % of its area.
  expect(left(0, at(0), at(10), at(60))).toEqual([10, 60]);
  expect(left(0.25, at(10), at(30), at(60))).toEqual([30, 60]);
  expect(left(0, at(79), at(81), at(119), at(121))).toEqual([79, 121]);
});
