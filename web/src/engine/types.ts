/** A face in pixels of the upright image. */
export interface Face {
  /** x1, y1, x2, y2. */
  box: [number, number, number, number];
  /** Probability, 0 to 1. */
  score: number;
  /** Eyes, nose, corners of the mouth. */
  landmarks?: [number, number][];
}

export type ModelName = 'extd-lite' | 'extd-lite-nano';

export interface DetectOptions {
  /** Least probability of a face, 0 to below 1. */
  threshold: number;
  /** Longer side in pixels of the smallest face that matters; larger is faster. */
  minFace?: number;
  model: ModelName;
}
