/** Non-maximum suppression and box voting, as in `extd.boxes`. */

import type { Face } from './types.ts';

export type Box = Face['box'];

/** Boxes with less than this share of the best one's score have no vote. */
export const VOTE_SHARE = 0.5;

/** In square pixels; 0 where a side is not positive. */
export function area([x1, y1, x2, y2]: Box): number {
  return Math.max(x2 - x1, 0) * Math.max(y2 - y1, 0);
}

export function longerSide([x1, y1, x2, y2]: Box): number {
  return Math.max(x2 - x1, y2 - y1);
}

/** The box with each side moved out by a share of the box's own side. */
export function grow([x1, y1, x2, y2]: Box, share: number): Box {
  const [across, down] = [share * (x2 - x1), share * (y2 - y1)];
  return [x1 - across, y1 - down, x2 + across, y2 + down];
}

/** The area that two boxes share. */
export function intersection(a: Box, b: Box): number {
  const across = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const down = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return across > 0 && down > 0 ? across * down : 0;
}

/** Intersection over union; 0 without any area. */
export function iou(a: Box, b: Box): number {
  const shared = intersection(a, b);
  return shared && shared / (area(a) + area(b) - shared);
}

/** Best first; of equal scores the earlier stays first. */
export function byScore(faces: Face[]): Face[] {
  return [...faces].sort((a, b) => b.score - a.score);
}

/**
 * The faces above the threshold that no better one overlaps by more than `maxIou`, best first.
 * Those that they suppress, and those below the threshold, help to place them (Gidaris and
 * Komodakis, 2015).
 */
export function suppress(faces: Face[], threshold: number, maxIou: number): Face[] {
  const sorted = byScore(faces);
  const kept = nms(sorted, maxIou).filter((face) => face.score > threshold);
  return kept.map((face) => ({ ...face, box: vote(face, sorted, maxIou) }));
}

function nms(sorted: Face[], maxIou: number): Face[] {
  const kept: Face[] = [];
  for (const face of sorted) {
    if (!kept.some((better) => iou(better.box, face.box) > maxIou)) kept.push(face);
  }
  return kept;
}

/** The mean of a kept face's box and of its voters', weighted by score times IoU. */
function vote(kept: Face, faces: Face[], minIou: number): Box {
  const sums = kept.box.map((side) => side * kept.score);
  let total = kept.score;
  for (const face of faces) {
    // The faces are sorted.
    if (face.score < VOTE_SHARE * kept.score) break;
    const overlap = face === kept ? 0 : iou(kept.box, face.box);
    if (overlap <= minIou) continue;
    const weight = overlap * face.score;
    face.box.forEach((side, i) => {
      sums[i] += weight * side;
    });
    total += weight;
  }
  return sums.map((sum) => sum / total) as Box;
}
