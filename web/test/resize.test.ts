import { expect, test } from 'vitest';
import { resize } from '../src/engine/resize.ts';
import { type Packed, readVectors, unpack } from './vectors.ts';

const { image, resized } = readVectors<{ image: Packed; resized: Packed[] }>('resizing');

test.each(resized)('resizes to $width x $height px as Pillow does', (packed) => {
  const expected = unpack(packed);
  expect(resize(unpack(image), expected.width, expected.height)).toEqual(expected);
});

test('leaves an image of that size alone', () => {
  const pixels = unpack(image);
  expect(resize(pixels, pixels.width, pixels.height)).toBe(pixels);
});
