/** Videos: started, watched, canceled and saved. */

import type { Engine } from '../engine/engine.ts';
import { messageOf } from '../finder.ts';
import type { Item, VideoState } from '../items.ts';
import { withEnding } from '../save/names.ts';
import { download } from '../save/save.ts';
import type { Store } from '../store.ts';
import { byId, onClick } from './dom.ts';
import { announce, notify } from './notices.ts';
import { setShape } from './stage.ts';

export function createVideo(store: Store, engine: Promise<Engine>): void {
  onClick('video-start', () => {
    const item = store.state.current;
    if (item?.video) void start(store, engine, item, item.video);
  });
  onClick('video-cancel', () => store.state.current?.video?.abort?.abort());
  onClick('video-save', () => {
    const item = store.state.current;
    const result = item?.video?.result?.blob;
    if (!item || !result) return;
    const name = withEnding(item.name, endingOf(result.type));
    download(result, name);
    store.change(() => {
      item.saved = true;
    });
    announce(`${name} saved.`);
  });
  const show = createPlayer();
  store.subscribe(() => {
    const { current, camera } = store.state;
    const video = camera ? null : (current?.video ?? null);
    show(video?.result?.blob ?? null);
    if (video) draw(video);
  });
}

async function start(
  store: Store,
  engine: Promise<Engine>,
  item: Item,
  video: VideoState,
): Promise<void> {
  const { threshold, model, style, margin } = store.state.settings;
  const abort = new AbortController();
  void video.result?.discard();
  store.change(() => {
    Object.assign(video, { status: 'covering', progress: 0, result: null, abort });
    item.saved = false;
  });
  announce(`Covering ${item.name}.`);
  const onProgress = (progress: number) => {
    store.change(() => {
      video.progress = progress;
    });
  };
  const options = { threshold, model, style, margin, onProgress, signal: abort.signal };
  try {
    // The code for videos is as large as the rest of the page.
    const { coverVideo } = await import('../video/video.ts');
    const result = await coverVideo(item.file, await engine, options);
    // Too late to stop, it was canceled or taken off the list.
    if (abort.signal.aborted) await result.discard();
    abort.signal.throwIfAborted();
    store.change(() => Object.assign(video, { status: 'done', result }));
    announce(`${item.name} is covered. Watch it before you share it.`);
  } catch (error) {
    store.change(() => Object.assign(video, { status: 'idle' }));
    if (abort.signal.aborted) announce('Canceled.');
    else notify(`${item.name}: ${messageOf(error)}`);
  }
  video.abort = null;
}

/** Of the containers that `coverVideo` writes. */
function endingOf(type: string): string {
  if (type.includes('webm')) return 'webm';
  if (type.includes('matroska')) return 'mkv';
  return type.includes('quicktime') ? 'mov' : 'mp4';
}

function draw({ status, progress }: VideoState): void {
  const covering = status === 'covering';
  const start = byId('video-start');
  start.hidden = covering;
  start.classList.toggle('primary', status === 'idle');
  start.lastChild!.textContent = status === 'done' ? 'Cover again' : 'Cover the video';
  byId('video-progress').hidden = !covering;
  byId('video-cancel').hidden = !covering;
  byId('video-save').hidden = status !== 'done';
  byId<HTMLProgressElement>('video-bar').value = progress;
  byId('video-percent').textContent = `${Math.floor(progress * 100)} %`;
}

/** Shows a finished video in place of its first frame; null takes it away. */
function createPlayer(): (result: Blob | null) => void {
  const player = byId<HTMLVideoElement>('video-result');
  let shown: Blob | null = null;
  player.addEventListener('loadedmetadata', () => setShape(player.videoWidth, player.videoHeight));
  return (result) => {
    if (result === shown) return;
    shown = result;
    if (player.src) URL.revokeObjectURL(player.src);
    player.hidden = !result;
    if (result) player.src = URL.createObjectURL(result);
    else player.removeAttribute('src');
  };
}
