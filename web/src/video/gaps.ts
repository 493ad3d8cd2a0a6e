/** Faces followed through a video, and covered where one is missed for a few frames. */

import { type Box, grow, iou } from '../engine/boxes.ts';

/** For how many frames a face stays covered where it is missed; as many are read ahead. */
export const GAP = 5;
/** Share of its sides by which a box grows on each side before matching, for fast faces. */
const GROWTH = 0.5;
/** Least IoU of two boxes of one face; low, as faces move while they are missed. */
const MATCH_IOU = 0.2;

/** A frame, whatever that is, and the boxes of its faces. */
export interface Boxed<T> {
  item: T;
  boxes: Box[];
}

/** A face that was seen; `left` where it jumped so far that it may be another one now. */
interface Track {
  box: Box;
  frame: number;
  left: boolean;
}

/**
 * Add boxes where a face is missed for at most `gap` frames, and before and after it is seen, as
 * `extd.media.tracking.fill_gaps` does.
 */
export async function* fillGaps<T>(
  frames: AsyncIterable<Boxed<T>>,
  gap = GAP,
): AsyncGenerator<Boxed<T>> {
  // Frames that may still get boxes from later ones.
  const pending: Boxed<T>[] = [];
  let tracks: Track[] = [];
  let number = -1;
  const fill = (first: number, last: number, box: (frame: number) => Box) => {
    const oldest = number + 1 - pending.length;
    for (let frame = Math.max(first, oldest); frame <= Math.min(last, number); frame++) {
      pending[frame - oldest].boxes.push(box(frame));
    }
  };
  const fillAfter = ({ frame, box }: Track) => fill(frame + 1, frame + gap, () => box);

  for await (const { item, boxes } of frames) {
    number++;
    pending.push({ item, boxes: [...boxes] });
    const before = match(tracks, boxes);
    for (const [i, box] of boxes.entries()) {
      const track = before[i];
      if (track) {
        const share = (frame: number) => (frame - track.frame) / (number - track.frame);
        fill(track.frame + 1, number - 1, (frame) => interpolate(track.box, box, share(frame)));
      }
      if (!track || iou(track.box, box) < MATCH_IOU) {
        // It is taken to have been there before.
        fill(number - gap, number - 1, () => box);
        if (track) tracks.push({ ...track, left: true });
      }
    }
    const seen = new Set(before);
    const missed = tracks.filter((track) => !seen.has(track));
    for (const track of missed) if (track.frame === number - gap - 1) fillAfter(track);
    tracks = missed.filter((track) => track.frame >= number - gap);
    tracks.push(...boxes.map((box) => ({ box, frame: number, left: false })));
    if (pending.length > gap) yield pending.shift()!;
  }
  for (const track of tracks) fillAfter(track);
  yield* pending;
}

/** The track that goes with each box, or none; greedy, the most similar first. */
function match(tracks: Track[], boxes: Box[]): (Track | undefined)[] {
  const pairs = tracks
    .filter((track) => !track.left)
    .flatMap((track) =>
      boxes.map((box, i) => ({
        track,
        i,
        similarity: iou(grow(track.box, GROWTH), grow(box, GROWTH)),
      })),
    )
    .filter(({ similarity }) => similarity >= MATCH_IOU)
    .sort((a, b) => b.similarity - a.similarity);
  const matches: (Track | undefined)[] = boxes.map(() => undefined);
  const taken = new Set<Track>();
  for (const { track, i } of pairs) {
    if (matches[i] || taken.has(track)) continue;
    matches[i] = track;
    taken.add(track);
  }
  return matches;
}

function interpolate(a: Box, b: Box, share: number): Box {
  return a.map((side, i) => side + share * (b[i] - side)) as Box;
}
