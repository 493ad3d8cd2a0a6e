import type { CoverStyle } from '../cover/cover.ts';
import type { Engine } from '../engine/engine.ts';
import type { DetectOptions } from '../engine/types.ts';

export interface FilmOptions extends DetectOptions {
  style: CoverStyle;
  /** As of `cover`. */
  margin: number;
  /** Told the share of the film that is done, 0 to 1. */
  onProgress(done: number): void;
  /** Ends the work with the signal's reason. */
  signal: AbortSignal;
}

/** A film with its faces covered: MP4, or WebM where the film is WebM. */
export async function coverFilm(
  _file: File,
  _engine: Engine,
  _options: FilmOptions,
): Promise<Blob> {
  throw new Error('films are not covered yet');
}
