/** The second look: which faces of a covered image were not covered, as `extd blur` tells. */

import { type Box, grow } from '../engine/boxes.ts';

/** Points a side at which it is looked up how much of a face is covered. */
const POINTS = 16;
/** Share of a box under covers from which its face counts as covered. */
const COVERED = 0.75;

/**
 * Of the faces found in a covered image, those that were not covered.
 *
 * @param covered boxes of the faces that were covered.
 * @param kept boxes of the faces left open: whatever has its center in one stays open.
 * @param margin as of `cover`.
 */
export function uncovered<T extends { box: Box }>(
  found: T[],
  covered: Box[],
  kept: Box[],
  margin: number,
): T[] {
  const covers = covered.map((box) => grow(box, margin));
  return found.filter(
    ({ box }) => !kept.some((other) => holdsCenter(other, box)) && share(box, covers) < COVERED,
  );
}

function holdsCenter([x1, y1, x2, y2]: Box, box: Box): boolean {
  const [x, y] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  return x1 <= x && x <= x2 && y1 <= y && y <= y2;
}

/** The share of a box's points that lie under the ellipses in `covers`. */
function share([x1, y1, x2, y2]: Box, covers: Box[]): number {
  let under = 0;
  for (let i = 0; i < POINTS * POINTS; i++) {
    const x = x1 + (((i % POINTS) + 0.5) / POINTS) * (x2 - x1);
    const y = y1 + ((Math.floor(i / POINTS) + 0.5) / POINTS) * (y2 - y1);
    if (covers.some((box) => inEllipse(box, x, y))) under++;
  }
  return under / POINTS ** 2;
}

function inEllipse([x1, y1, x2, y2]: Box, x: number, y: number): boolean {
  const across = (x - (x1 + x2) / 2) / Math.max((x2 - x1) / 2, 0.5);
  const down = (y - (y1 + y2) / 2) / Math.max((y2 - y1) / 2, 0.5);
  return Math.hypot(across, down) <= 1;
}
