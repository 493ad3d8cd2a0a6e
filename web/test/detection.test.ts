import { expect, test } from 'vitest';
import { detect } from '../src/engine/detector.ts';
import { ANCHORS } from '../src/engine/network.ts';
import type { Face, ModelName } from '../src/engine/types.ts';
import { loadModel, type Packed, readVectors, unpack } from './vectors.ts';

interface Case {
  name: string;
  model: ModelName;
  image: number;
  threshold: number;
  minFace: number;
  tiled: boolean;
  boxes: Face['box'][];
  scores: number[];
  landmarks: [number, number][][];
}

const { anchors, images, cases } = readVectors<{
  anchors: Record<ModelName, typeof ANCHORS>;
  images: Packed[];
  cases: Case[];
}>('detection');

/** Fewer pixels than the first pass over the large image, more than the second one. */
const SMALL = 2 ** 20;

test.each(cases)('finds the faces that Python finds: $name', async (expected) => {
  const network = await loadModel(expected.model);
  const { tiled } = expected;
  const image = unpack(images[expected.image]);
  const faces = await detect(network, image, expected, tiled ? SMALL : undefined);
  await network.release();
  expect(faces).toHaveLength(expected.boxes.length);
  for (const [i, face] of faces.entries()) {
    expectNear(face.box, expected.boxes[i], 0.1);
    expectNear([face.score], [expected.scores[i]], 1e-3);
    expectNear(face.landmarks!.flat(), expected.landmarks[i].flat(), 0.1);
  }
});

test.each(cases.slice(0, 2))('finds as many in int8: $name', async (expected) => {
  const network = await loadModel(`${expected.model}-int8`);
  const faces = await detect(network, unpack(images[expected.image]), expected);
  await network.release();
  expect(faces).toHaveLength(expected.boxes.length);
});

test.each(Object.entries(anchors))('knows the anchors of %s', (_, expected) => {
  expect(ANCHORS).toEqual(expected);
});

function expectNear(values: number[], expected: number[], tolerance: number): void {
  const errors = values.map((value, i) => Math.abs(value - expected[i]));
  expect(values).toHaveLength(expected.length);
  expect(Math.max(...errors)).toBeLessThan(tolerance);
}
