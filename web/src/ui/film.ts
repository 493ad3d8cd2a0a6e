/** Films: started, watched, canceled and saved. */

import type { Engine } from '../engine/engine.ts';
import { messageOf } from '../finder.ts';
import type { FilmState, Item } from '../items.ts';
import { withEnding } from '../save/names.ts';
import { download } from '../save/save.ts';
import type { Store } from '../store.ts';
import { byId, onClick } from './dom.ts';
import { announce, notify } from './notices.ts';
import { setShape } from './stage.ts';

export function createFilm(store: Store, engine: Promise<Engine>): void {
  onClick('film-start', () => {
    const item = store.state.current;
    if (item?.film) void start(store, engine, item, item.film);
  });
  onClick('film-cancel', () => store.state.current?.film?.abort?.abort());
  onClick('film-save', () => {
    const item = store.state.current;
    const result = item?.film?.result?.blob;
    if (!item || !result) return;
    const name = withEnding(item.name, endingOf(result.type));
    download(result, name);
    store.change(() => {
      item.saved = true;
    });
    announce(`${name} saved.`);
  });
  const player = createPlayer();
  store.subscribe(() => {
    const { current, camera } = store.state;
    const film = camera ? null : (current?.film ?? null);
    player(film?.result?.blob ?? null);
    if (film) draw(film);
  });
}

async function start(
  store: Store,
  engine: Promise<Engine>,
  item: Item,
  film: FilmState,
): Promise<void> {
  const { threshold, model, style, margin } = store.state.settings;
  const abort = new AbortController();
  void film.result?.discard();
  store.change(() => {
    Object.assign(film, { status: 'covering', progress: 0, result: null, abort });
    item.saved = false;
  });
  announce(`Covering ${item.name}.`);
  const onProgress = (progress: number) => {
    store.change(() => {
      film.progress = progress;
    });
  };
  const options = { threshold, model, style, margin, onProgress, signal: abort.signal };
  try {
    // The code for videos is as large as the rest of the page.
    const { coverFilm } = await import('../film/film.ts');
    const result = await coverFilm(item.file, await engine, options);
    // Too late to stop, it was canceled or taken off the list.
    if (abort.signal.aborted) await result.discard();
    abort.signal.throwIfAborted();
    store.change(() => Object.assign(film, { status: 'done', result }));
    announce(`${item.name} is covered. Watch it before you share it.`);
  } catch (error) {
    store.change(() => Object.assign(film, { status: 'idle' }));
    if (abort.signal.aborted) announce('Canceled.');
    else notify(`${item.name}: ${messageOf(error)}`);
  }
  film.abort = null;
}

/** Of the containers that `coverFilm` writes. */
function endingOf(type: string): string {
  if (type.includes('webm')) return 'webm';
  if (type.includes('matroska')) return 'mkv';
  return type.includes('quicktime') ? 'mov' : 'mp4';
}

function draw({ status, progress }: FilmState): void {
  const covering = status === 'covering';
  const start = byId('film-start');
  start.hidden = covering;
  start.classList.toggle('primary', status === 'idle');
  start.lastChild!.textContent = status === 'done' ? 'Cover again' : 'Cover the video';
  byId('film-progress').hidden = !covering;
  byId('film-cancel').hidden = !covering;
  byId('film-save').hidden = status !== 'done';
  byId<HTMLProgressElement>('film-bar').value = progress;
  byId('film-percent').textContent = `${Math.floor(progress * 100)} %`;
}

/** Shows a finished film in place of its first frame; null takes it away. */
function createPlayer(): (result: Blob | null) => void {
  const video = byId<HTMLVideoElement>('film-result');
  let shown: Blob | null = null;
  video.addEventListener('loadedmetadata', () => setShape(video.videoWidth, video.videoHeight));
  return (result) => {
    if (result === shown) return;
    shown = result;
    if (video.src) URL.revokeObjectURL(video.src);
    video.hidden = !result;
    if (result) video.src = URL.createObjectURL(result);
    else video.removeAttribute('src');
  };
}
