import { expect, test } from 'vitest';
import type { Box } from '../src/engine/boxes.ts';
import { type Boxed, fillGaps } from '../src/video/gaps.ts';

const at = (x: number): Box => [x, 0, x + 10, 10];

async function fill(frames: Box[][], gap: number): Promise<Box[][]> {
  async function* items(): AsyncGenerator<Boxed<number>> {
    for (const [item, boxes] of frames.entries()) yield { item, boxes };
  }
  const filled: Box[][] = [];
  for await (const { item, boxes } of fillGaps(items(), gap)) {
    expect(item).toBe(filled.length);
    filled.push(boxes);
  }
  return filled;
}

test('covers a missed face on the way between its boxes', async () => {
  expect(await fill([[at(0)], [], [], [at(3)]], 2)).toEqual([[at(0)], [at(1)], [at(2)], [at(3)]]);
});

test('covers a face where it was before and after it is seen', async () => {
  const [box, empty]: [Box, Box[]] = [at(5), []];
  const frames = [empty, empty, [box], empty, empty, empty];
  expect(await fill(frames, 1)).toEqual([[], [box], [box], [box], [], []]);
});

test('leaves gaps longer than that', async () => {
  const filled = await fill([[at(0)], [], [], [], [], [at(1)]], 1);
  expect(filled).toEqual([[at(0)], [at(0)], [], [], [at(1)], [at(1)]]);
});

test('covers both places of a face that jumps', async () => {
  const filled = await fill([[at(0)], [], [at(12)], []], 2);
  expect(filled[1]).toEqual([at(6), at(12), at(0)]);
  expect(filled[2]).toEqual([at(12), at(0)]);
});

test('keeps two faces apart', async () => {
  const filled = await fill([[at(0), at(50)], [], [at(52), at(2)]], 3);
  expect(filled[1]).toHaveLength(2);
  expect(filled[1]).toEqual(expect.arrayContaining([at(1), at(51)]));
});

test('passes frames on with a delay of the gap', async () => {
  let read = 0;
  async function* items(): AsyncGenerator<Boxed<number>> {
    for (; read < 100; read++) yield { item: read, boxes: [] };
  }
  const first = await fillGaps(items(), 3).next();
  expect(first.value?.item).toBe(0);
  expect(read).toBe(3);
});
