/** Images and films that the page holds, and the faces marked on them. */

import type { CoverStyle } from './cover/cover.ts';
import { type Box, iou } from './engine/boxes.ts';
import type { Face, ModelName } from './engine/types.ts';
import type { CoveredFilm } from './film/film.ts';

export type { Box };

/** A face that was found, or a box that was added by hand. */
export interface Mark {
  id: number;
  /** x1, y1, x2, y2 in pixels of the upright image. */
  box: Box;
  /** Probability of a face; 1 for boxes added by hand. */
  score: number;
  /** Left open: it is not covered. */
  kept: boolean;
  added: boolean;
}

export interface FilmState {
  status: 'idle' | 'covering' | 'done';
  /** 0 to 1. */
  progress: number;
  result: CoveredFilm | null;
  abort: AbortController | null;
}

export interface Item {
  id: number;
  name: string;
  file: File;
  /** Of the upright image, in pixels; of a film, 0 until its first frame is decoded. */
  width: number;
  height: number;
  state: 'waiting' | 'finding' | 'ready' | 'failed';
  marks: Mark[];
  /** How long the detection took. */
  milliseconds: number;
  saved: boolean;
  thumb: HTMLCanvasElement | null;
  film: FilmState | null;
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
export const LEAST_THRESHOLD = 0.2;
/** IoU from which a face of a second detection is the same as one of the first. */
const SAME = 0.5;
/** Rows that an image is read in, top to bottom, so that Tab goes from face to face. */
const ROWS = 6;

let lastId = 0;

export function newId(): number {
  return ++lastId;
}

export function newItem(file: File, width: number, height: number, isFilm: boolean): Item {
  return {
    id: newId(),
    name: file.name || 'image',
    file,
    width,
    height,
    state: 'waiting',
    marks: [],
    milliseconds: 0,
    saved: false,
    thumb: null,
    film: isFilm ? { status: 'idle', progress: 0, result: null, abort: null } : null,
  };
}

/** Marks of a new detection; what was kept stays kept, and boxes added by hand stay. */
export function mergeMarks(old: Mark[], faces: Face[], height: number): Mark[] {
  const kept = old.filter((mark) => mark.kept && !mark.added);
  const row = ({ box }: Face) => Math.floor(((box[1] + box[3]) / 2 / height) * ROWS);
  const found = faces
    .toSorted((a, b) => row(a) - row(b) || a.box[0] - b.box[0])
    .map((face) => ({
      id: newId(),
      box: face.box,
      score: face.score,
      kept: kept.some((mark) => iou(mark.box, face.box) > SAME),
      added: false,
    }));
  return [...found, ...old.filter((mark) => mark.added)];
}

/** The marks that count at this threshold. */
export function shownMarks(item: Item, settings: Settings): Mark[] {
  return item.marks.filter((mark) => mark.added || mark.score >= settings.threshold);
}

export function coveredBoxes(item: Item, settings: Settings): Box[] {
  return shownMarks(item, settings)
    .filter((mark) => !mark.kept)
    .map((mark) => mark.box);
}

/** What is on an item, for the line below it and for screen readers. */
export function describe(item: Item, settings: Settings): string {
  if (item.state === 'waiting' || item.state === 'finding') return 'Looking for faces…';
  if (item.state === 'failed') return 'Not searched for faces. Drag to cover by hand.';
  const marks = shownMarks(item, settings);
  const open = marks.filter((mark) => mark.kept).length;
  if (marks.length === 0) return item.film ? 'No faces in its first frame' : 'No faces found';
  if (item.film) return `${plural(marks.length, 'face')} in its first frame`;
  if (open === 0)
    return `${plural(marks.length, 'face')}, ${marks.length > 1 ? 'all ' : ''}covered`;
  return `${plural(marks.length, 'face')}, ${marks.length - open} covered, ${open} kept`;
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
