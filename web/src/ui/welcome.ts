/** The sample image of the first view, with its faces covered but one. */

import sampleUrl from '../../../examples/solvay_1927.jpg?url';
import { cover } from '../cover/cover.ts';
import { messageOf } from '../finder.ts';
import { type Box, DEFAULTS } from '../items.ts';
import { byId, onClick } from './dom.ts';
import type { Add } from './intake.ts';
import { notify } from './notices.ts';

/** The part of the sample that is shown. */
const PART: Box = [250, 300, 950, 715];
/** Its faces, as `extd detect` finds them, so that the first view needs no detector. */
const FACES: Box[] = [
  [601, 438, 634, 480],
  [680, 362, 712, 403],
  [890, 361, 923, 405],
  [360, 380, 393, 424],
  [447, 444, 485, 491],
  [712, 439, 746, 485],
  [296, 356, 326, 395],
  [367, 489, 401, 532],
  [793, 485, 833, 534],
  [306, 445, 341, 490],
  [507, 490, 546, 542],
  [901, 484, 936, 531],
  [787, 367, 820, 407],
  [833, 448, 866, 493],
  [466, 377, 498, 416],
  [583, 385, 616, 429],
  [234, 493, 270, 540],
];
const KEPT: Box = [676, 481, 716, 533];

export function createWelcome(add: Add): void {
  void drawSample().catch(() => {});
  onClick('sample', async () => {
    try {
      await add([await fetchSample()]);
    } catch (error) {
      notify(`The sample could not be loaded: ${messageOf(error)}`);
    }
  });
}

async function fetchSample(): Promise<File> {
  const response = await fetch(sampleUrl);
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return new File([await response.blob()], 'solvay_1927.jpg', { type: 'image/jpeg' });
}

async function drawSample(): Promise<void> {
  const image = new Image();
  image.src = sampleUrl;
  await image.decode();
  const canvas = byId<HTMLCanvasElement>('sample-canvas');
  const context = canvas.getContext('2d', { willReadFrequently: true })!;
  const scale = canvas.width / (PART[2] - PART[0]);
  canvas.height = Math.round((PART[3] - PART[1]) * scale);
  const [width, height] = [image.width * scale, image.height * scale];
  context.imageSmoothingQuality = 'high';
  context.drawImage(image, -PART[0] * scale, -PART[1] * scale, width, height);
  const placed = (box: Box) => box.map((side, i) => (side - PART[i % 2]) * scale) as Box;
  cover(context, FACES.map(placed), DEFAULTS.style, DEFAULTS.margin);
  for (const box of FACES) frame(context, placed(box), false);
  frame(context, placed(KEPT), true);
}

function frame(context: CanvasRenderingContext2D, [x1, y1, x2, y2]: Box, kept: boolean): void {
  const path = new Path2D();
  path.roundRect(x1, y1, x2 - x1, y2 - y1, 0.22 * (x2 - x1));
  context.setLineDash([]);
  context.lineWidth = 7;
  context.strokeStyle = 'rgb(0 0 0 / 0.45)';
  context.stroke(path);
  context.setLineDash(kept ? [12, 9] : []);
  context.lineWidth = 4;
  context.strokeStyle = kept ? '#ffd166' : '#fff';
  context.stroke(path);
}
