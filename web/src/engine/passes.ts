/** Passes of the network over an image: at several sizes, in tiles. As in `extd.passes`. */

import { area, type Box, byScore, intersection, longerSide } from './boxes.ts';
import type { Pixels } from './resize.ts';
import type { Face } from './types.ts';

/** Longer side of an image, px, that no pyramid halves. */
const COARSEST = 640;
/** Longer sides, px, of the faces that a level between two others keeps. */
const BEST_SIZES = [48, 256] as const;
/** Longer side of a face, px, below which a finer level finds more. */
const TINY = 20;
/** The coarsest stride of the detectors in px; tiles begin at multiples of it. */
const STRIDE = 128;

/** How far the center of a box that counts must be from a tile's inner edges, in overlaps. */
const CONTEXT = 3 / 8;
/** Boxes closer to an inner edge than this share of their longer side count as cut. */
const SLACK = 0.1;
/** A whole box that covers this share of a cut one's area replaces it. */
const COVERED = 0.5;

/** One run of the network over an image. */
export interface Pass {
  /** By which the image is enlarged. */
  factor: number;
  /** Longer sides of the faces that it keeps, in px of its own scale. */
  sizes: [number, number];
}

/**
 * Passes over an image at halved sizes, each for the faces that it sees well.
 *
 * @param longest longer side of the image, px.
 * @param smallest longer side of the smallest face that matters, px; finer passes are left out.
 */
export function pyramid(longest: number, smallest: number): Pass[] {
  let factors = [1];
  while (longest * factors[factors.length - 1] > COARSEST) {
    factors.push(factors[factors.length - 1] / 2);
  }
  while (factors.length > 1 && smallest * factors[1] >= TINY) factors = factors.slice(1);
  const [low, high] = BEST_SIZES;
  return factors.map((factor, i) => ({
    factor,
    sizes: [i > 0 ? low : 0, i < factors.length - 1 ? high : Number.POSITIVE_INFINITY],
  }));
}

/** A side in pixels, resized; at least one, halves go to the even number as in Python. */
export function scaledSide(side: number, factor: number): number {
  const scaled = side * factor;
  const down = Math.floor(scaled);
  const up = scaled - down > 0.5 || (scaled - down === 0.5 && down % 2 === 1);
  return Math.max(down + (up ? 1 : 0), 1);
}

export function inRange({ sizes }: Pass, face: Face): boolean {
  const size = longerSide(face.box);
  return size >= sizes[0] && size <= sizes[1];
}

/** A face where its image is enlarged by two factors, and moved. */
export function mapFace(face: Face, across: number, down: number, x = 0, y = 0): Face {
  const [x1, y1, x2, y2] = face.box;
  const point = (at: [number, number]): [number, number] => [at[0] * across + x, at[1] * down + y];
  return {
    box: [...point([x1, y1]), ...point([x2, y2])],
    score: face.score,
    ...(face.landmarks && { landmarks: face.landmarks.map(point) }),
  };
}

/** Faces that lie whole within a tile, and those that an edge cuts. */
export interface TileFaces {
  whole: Face[];
  cut: Face[];
}

/**
 * The faces in the tiles of an image. Those up to 3/4 of the overlap are whole in at least one.
 *
 * @param side of a tile in px, a multiple of 128 and at least twice it.
 * @param overlap of neighboring tiles as a share of the side, above 0, up to 0.5.
 */
export async function detectInTiles(
  image: Pixels,
  side: number,
  overlap: number,
  detect: (tile: Pixels) => Promise<Face[]>,
): Promise<TileFaces> {
  const step = Math.floor((side * (1 - overlap)) / STRIDE) * STRIDE;
  const faces: TileFaces = { whole: [], cut: [] };
  for (const [y1, y2] of spans(image.height, side, step)) {
    for (const [x1, x2] of spans(image.width, side, step)) {
      const edges: Box = [
        x1 || Number.NEGATIVE_INFINITY,
        y1 || Number.NEGATIVE_INFINITY,
        x2 < image.width ? x2 : Number.POSITIVE_INFINITY,
        y2 < image.height ? y2 : Number.POSITIVE_INFINITY,
      ];
      for (const local of await detect(crop(image, x1, y1, x2, y2))) {
        const face = mapFace(local, 1, 1, x1, y1);
        if (!owns(edges, face.box, (side - step) * CONTEXT)) continue;
        (isCut(edges, face.box) ? faces.cut : faces.whole).push(face);
      }
    }
  }
  return faces;
}

/** Where tiles begin and end along a side; the last may be smaller. */
function spans(length: number, side: number, step: number): [number, number][] {
  const last = Math.max(length - side, 0) + step;
  const result: [number, number][] = [];
  for (let start = 0; start < last; start += step) {
    result.push([start, Math.min(start + side, length)]);
  }
  return result;
}

/** Whether a box counts in a tile: its center is away from inner edges. */
function owns(edges: Box, [x1, y1, x2, y2]: Box, room: number): boolean {
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const inside = x >= edges[0] + room && x <= edges[2] - room;
  return inside && y >= edges[1] + room && y <= edges[3] - room;
}

/** Whether a box is so close to an inner edge that the face may go on beyond it. */
function isCut(edges: Box, box: Box): boolean {
  const slack = SLACK * longerSide(box);
  return (
    box[0] < edges[0] + slack ||
    box[1] < edges[1] + slack ||
    box[2] > edges[2] - slack ||
    box[3] > edges[3] - slack
  );
}

function crop(image: Pixels, x1: number, y1: number, x2: number, y2: number): Pixels {
  const { channels } = image;
  const [width, height] = [x2 - x1, y2 - y1];
  const data = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    const start = ((y1 + y) * image.width + x1) * channels;
    data.set(image.data.subarray(start, start + width * channels), y * width * channels);
  }
  return { data, width, height, channels };
}

/** Faces, and those that tiles cut where no other covers them, best first. */
export function addUncovered(faces: Face[], cut: Face[]): Face[] {
  const bare = cut.filter(({ box }) =>
    faces.every((face) => intersection(box, face.box) <= COVERED * area(box)),
  );
  return byScore([...faces, ...bare]);
}
