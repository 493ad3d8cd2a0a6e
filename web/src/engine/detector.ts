/** From pixels to faces: resize, network, threshold, suppression. As `extd.detector`. */

import { area, type Box, longerSide, suppress, VOTE_SHARE } from './boxes.ts';
import { type Network, runNetwork } from './network.ts';
import {
  addUncovered,
  detectInTiles,
  inRange,
  mapFace,
  type Pass,
  pyramid,
  scaledSide,
  type TileFaces,
} from './passes.ts';
import { type Pixels, resize } from './resize.ts';
import type { DetectOptions, Face } from './types.ts';

const NMS_IOU = 0.3;
/** Side of the tiles that an image above `LARGE` pixels is divided into, and their overlap. */
const SIDE = 1024;
const OVERLAP = 0.25;
/** As in Python; ONNX Runtime takes 30 MB for a million pixels. */
const LARGE = 2 ** 24;

/** Find the faces in an image of RGB, best first, in its pixels. */
export async function detect(
  network: Network,
  image: Pixels,
  { threshold, minFace = 0 }: Omit<DetectOptions, 'model'>,
  large = LARGE,
): Promise<Face[]> {
  const { width, height } = image;
  const scaled = new Map<number, Pixels>();
  const faces: TileFaces = { whole: [], cut: [] };
  for (const pass of pyramid(Math.max(width, height), minFace)) {
    // Halving what was halved already costs little.
    const larger = scaled.get(2 * pass.factor) ?? image;
    const view = resize(larger, scaledSide(width, pass.factor), scaledSide(height, pass.factor));
    scaled.set(pass.factor, view);
    const { whole, cut } = await runPass(network, view, pass, threshold * VOTE_SHARE, large);
    const undo = (face: Face) => mapFace(face, width / view.width, height / view.height);
    faces.whole.push(...whole.map(undo));
    faces.cut.push(...cut.map(undo));
  }
  const whole = suppress(faces.whole, threshold, NMS_IOU);
  const found = faces.cut.length
    ? addUncovered(whole, suppress(faces.cut, threshold, NMS_IOU))
    : whole;
  return found
    .map((face) => ({ ...face, box: clip(face.box, width, height) }))
    .filter(({ box }) => longerSide(box) >= minFace && area(box) > 0);
}

async function runPass(
  network: Network,
  view: Pixels,
  pass: Pass,
  threshold: number,
  large: number,
): Promise<TileFaces> {
  const find = (image: Pixels) => runNetwork(network, image, threshold);
  const faces =
    view.width * view.height > large
      ? await detectInTiles(view, SIDE, OVERLAP, find)
      : { whole: await find(view), cut: [] };
  return { ...faces, whole: faces.whole.filter((face) => inRange(pass, face)) };
}

function clip([x1, y1, x2, y2]: Box, width: number, height: number): Box {
  const within = (value: number, most: number) => Math.min(Math.max(value, 0), most);
  return [within(x1, width), within(y1, height), within(x2, width), within(y2, height)];
}
