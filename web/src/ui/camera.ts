/** The camera: each frame is shown with the faces that were found in it, never before. */

import { cover } from '../cover/cover.ts';
import type { Engine } from '../engine/engine.ts';
import type { Face } from '../engine/types.ts';
import { messageOf } from '../finder.ts';
import { plural } from '../items.ts';
import type { Store } from '../store.ts';
import { byId, make, onClick } from './dom.ts';
import type { Add } from './intake.ts';
import { announce, notify } from './notices.ts';
import { setShape, showNote } from './stage.ts';

/** Share that the newest frame has in the frame rate that is shown. */
const SMOOTHING = 0.1;

interface Session {
  stream: MediaStream;
  video: HTMLVideoElement;
  running: boolean;
  /** The frame on show, without covers. */
  frame: ImageBitmap | null;
}

interface DetectedFrame {
  frame: ImageBitmap;
  faces: Face[];
}

export function createCamera(store: Store, engine: Promise<Engine>, add: Add): void {
  let session: Session | null = null;
  let starting = false;
  const close = () => {
    if (session) stop(session);
    session = null;
    store.change((state) => {
      state.camera = false;
    });
  };
  const open = async () => {
    if (session || starting) return;
    starting = true;
    store.change((state) => {
      state.camera = true;
    });
    byId('name').textContent = 'Camera';
    byId('count').textContent = 'Starting…';
    byId('time').textContent = '';
    let own: Session | null = null;
    try {
      own = await start(close);
      session = own;
      starting = false;
      // Left while the browser asked.
      if (!store.state.camera) return close();
      announce('The camera is on.');
      await run(store, await engine, own);
    } catch (error) {
      // A camera that was closed meanwhile fails in peace.
      if (session === own) {
        notify(cameraMessage(error));
        close();
      }
    }
    starting = false;
  };
  for (const id of ['bar-camera', 'welcome-camera']) onClick(id, () => void open());
  onClick('camera-close', close);
  onClick('snapshot', async () => {
    if (session?.frame) await takePhoto(session.frame, store, add);
  });
  store.subscribe(() => {
    if (!store.state.camera && session) close();
  });
}

/** Ask for the camera and play it; `ended` is called when it is unplugged. */
async function start(ended: () => void): Promise<Session> {
  if (!navigator.mediaDevices) throw new Error('this page needs an address with https.');
  const size = { width: { ideal: 640 }, height: { ideal: 480 } };
  const video = make('video', 'visually-hidden');
  const stream = await navigator.mediaDevices.getUserMedia({
    video: { ...size, facingMode: 'user' },
  });
  for (const track of stream.getTracks()) track.addEventListener('ended', ended);
  video.muted = true;
  video.playsInline = true;
  video.srcObject = stream;
  video.tabIndex = -1;
  video.setAttribute('aria-hidden', 'true');
  document.body.append(video);
  const session = { stream, video, running: true, frame: null };
  try {
    await video.play();
  } catch (error) {
    // Nobody else could turn the camera off.
    stop(session);
    throw error;
  }
  return session;
}

function stop(session: Session): void {
  session.running = false;
  for (const track of session.stream.getTracks()) track.stop();
  session.video.remove();
  session.frame?.close();
  session.frame = null;
}

/** Until the session ends: the detector searches a frame while the one before is drawn. */
async function run(store: Store, engine: Engine, session: Session): Promise<void> {
  const detect = async (frame: ImageBitmap): Promise<DetectedFrame> => {
    const { threshold, cameraModel: model } = store.state.settings;
    const { faces } = await engine.detect(frame, { threshold, model });
    return { frame, faces };
  };
  let rate = 0;
  let last = performance.now();
  let detecting = detect(await nextFrame(session.video));
  showNote('');
  while (session.running) {
    const frame = nextFrame(session.video);
    const shown = await detecting;
    detecting = detect(await frame);
    // Awaited a round later; until then a failure is nobody's.
    detecting.catch(() => {});
    if (!session.running) break;
    draw(store, session, shown);
    const now = performance.now();
    const current = 1000 / Math.max(1, now - last);
    rate = rate === 0 ? current : rate + SMOOTHING * (current - rate);
    last = now;
    byId('count').textContent =
      `${plural(shown.faces.length, 'face')} · ${rate.toFixed(0)} frames a second`;
  }
}

async function nextFrame(video: HTMLVideoElement): Promise<ImageBitmap> {
  await new Promise((resolve) => {
    if ('requestVideoFrameCallback' in video) video.requestVideoFrameCallback(resolve);
    else requestAnimationFrame(resolve);
  });
  return await createImageBitmap(video);
}

function draw(store: Store, session: Session, { frame, faces }: DetectedFrame): void {
  const { style, margin } = store.state.settings;
  const canvas = byId<HTMLCanvasElement>('canvas');
  canvas.hidden = false;
  if (canvas.width !== frame.width || canvas.height !== frame.height) {
    canvas.width = frame.width;
    canvas.height = frame.height;
  }
  setShape(frame.width, frame.height);
  const context = canvas.getContext('2d', { willReadFrequently: true })!;
  context.drawImage(frame, 0, 0);
  session.frame?.close();
  session.frame = frame;
  const boxes = faces.map((face) => face.box);
  if (byId<HTMLInputElement>('camera-cover').checked) cover(context, boxes, style, margin);
  else for (const box of boxes) drawFrame(context, box);
}

function drawFrame(context: CanvasRenderingContext2D, [x1, y1, x2, y2]: Face['box']): void {
  for (const [color, width] of [
    ['rgb(0 0 0 / 0.55)', 5],
    ['#fff', 2],
  ] as const) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
}

/** The frame on show becomes an image of the list, where its faces can be kept or covered. */
async function takePhoto(frame: ImageBitmap, store: Store, add: Add): Promise<void> {
  const canvas = new OffscreenCanvas(frame.width, frame.height);
  canvas.getContext('2d')!.drawImage(frame, 0, 0);
  const blob = await canvas.convertToBlob({ type: 'image/png' });
  const count = store.state.items.filter(({ name }) => name.startsWith('camera-')).length + 1;
  await add([new File([blob], `camera-${count}.png`, { type: 'image/png' })]);
}

function cameraMessage(error: unknown): string {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'NotFoundError' || name === 'OverconstrainedError') {
    return 'Camera: none was found.';
  }
  if (name === 'NotAllowedError') {
    return 'Camera: this page may not use it. Allow it in the settings of the browser.';
  }
  return `Camera: ${messageOf(error)}`;
}
