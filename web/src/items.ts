/** Images and videos that the page holds, and the regions of their faces. */

import type { CoverStyle } from './cover/cover.ts';
import { type Box, iou } from './engine/boxes.ts';
import type { Face, ModelName } from './engine/types.ts';
import type { CoveredVideo } from './video/video.ts';

export type { Box };

/** A face that was found, or a box that was added by hand. */
export interface Region {
  id: number;
  /** x1, y1, x2, y2 in pixels of the upright image. */
  box: Box;
  /** Probability of a face; 1 for boxes added by hand. */
  score: number;
  /** Left open: it is not covered. */
  kept: boolean;
  added: boolean;
}

export interface VideoState {
  status: 'idle' | 'covering' | 'done';
  /** 0 to 1. */
  progress: number;
  result: CoveredVideo | null;
  abort: AbortController | null;
}

export interface Item {
  id: number;
  name: string;
  file: File;
  /** Of the upright image, in pixels; of a video, 0 until its first frame is decoded. */
  width: number;
  height: number;
  state: 'waiting' | 'finding' | 'ready' | 'failed';
  regions: Region[];
  /** How long the detection took. */
  milliseconds: number;
  saved: boolean;
  thumb: HTMLCanvasElement | null;
  video: VideoState | null;
}

export interface Settings {
  threshold: number;
  margin: number;
  style: CoverStyle;
  model: ModelName;
  /** The camera's own model, for speed. */
  cameraModel: ModelName;
  format: 'jpeg' | 'png';
  /** Of JPEG, 0 to 1. */
  quality: number;
}

export const DEFAULTS: Settings = {
  threshold: 0.5,
  margin: 0.25,
  style: 'blur',
  model: 'extd-lite',
  cameraModel: 'extd-lite-nano',
  format: 'jpeg',
  quality: 0.92,
};

/** Least threshold that the slider offers. Faces are found with it once, and filtered after. */
export const MIN_THRESHOLD = 0.2;
/** IoU from which a face of a second detection is the same as one of the first. */
const SAME = 0.5;
/** Rows that an image is read in, top to bottom, so that Tab goes from face to face. */
const ROWS = 6;

let lastId = 0;

export function newId(): number {
  return ++lastId;
}

export function newItem(file: File, width: number, height: number, isVideo: boolean): Item {
  return {
    id: newId(),
    name: file.name || 'image',
    file,
    width,
    height,
    state: 'waiting',
    regions: [],
    milliseconds: 0,
    saved: false,
    thumb: null,
    video: isVideo ? { status: 'idle', progress: 0, result: null, abort: null } : null,
  };
}

/** Regions of a new detection; what was kept stays kept, and boxes added by hand stay. */
export function mergeRegions(old: Region[], faces: Face[], height: number): Region[] {
  const kept = old.filter((region) => region.kept && !region.added);
  const found = faces.map((face) => ({
    id: newId(),
    box: face.box,
    score: face.score,
    kept: kept.some((region) => iou(region.box, face.box) > SAME),
    added: false,
  }));
  return inReadingOrder([...found, ...old.filter((region) => region.added)], height);
}

/** The regions and those of more faces; a face found again replaces its region. */
export function addFaces(old: Region[], faces: Face[], height: number): Region[] {
  const others = old.filter((region) => !faces.some((face) => iou(region.box, face.box) > SAME));
  return inReadingOrder([...others, ...mergeRegions([], faces, height)], height);
}

/** Row by row, then the boxes added by hand. */
function inReadingOrder(regions: Region[], height: number): Region[] {
  const row = ({ added, box }: Region) =>
    added ? ROWS : Math.floor(((box[1] + box[3]) / 2 / height) * ROWS);
  return regions.toSorted((a, b) => row(a) - row(b) || (a.added ? 0 : a.box[0] - b.box[0]));
}

/** The regions that count at this threshold. */
export function shownRegions(item: Item, settings: Settings): Region[] {
  return item.regions.filter((region) => region.added || region.score >= settings.threshold);
}

export function coveredBoxes(item: Item, settings: Settings): Box[] {
  return shownRegions(item, settings)
    .filter((region) => !region.kept)
    .map((region) => region.box);
}

/** What is on an item, for the line below it and for screen readers. */
export function describe(item: Item, settings: Settings): string {
  if (item.state === 'waiting' || item.state === 'finding') return 'Looking for faces…';
  if (item.state === 'failed') return 'Not searched for faces. Drag to cover by hand.';
  const regions = shownRegions(item, settings);
  const open = regions.filter((region) => region.kept).length;
  if (regions.length === 0) return item.video ? 'No faces in its first frame' : 'No faces found';
  if (item.video) return `${plural(regions.length, 'face')} in its first frame`;
  if (open === 0)
    return `${plural(regions.length, 'face')}, ${regions.length > 1 ? 'all ' : ''}covered`;
  return `${plural(regions.length, 'face')}, ${regions.length - open} covered, ${open} kept`;
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
