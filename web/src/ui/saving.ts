/** The buttons that save. */

import type { Engine } from '../engine/engine.ts';
import type { Face } from '../engine/types.ts';
import { messageOf } from '../finder.ts';
import { addFaces, type Item, plural } from '../items.ts';
import { boxesJson } from '../save/boxes.ts';
import { download, encode, encodeAll, savedName } from '../save/save.ts';
import type { Store } from '../store.ts';
import { byId, onClick } from './dom.ts';
import { announce, notify } from './notices.ts';

const BUTTONS = ['save', 'bar-save', 'save-all', 'save-boxes'];

export function createSaving(store: Store, engine: Promise<Engine>): void {
  let saving = false;
  const guarded = (action: () => Promise<void>) => async () => {
    saving = true;
    draw();
    try {
      await action();
    } catch (error) {
      notify(`Not saved: ${messageOf(error)}`);
    }
    saving = false;
    draw();
  };
  const draw = () => {
    const images = store.state.items.filter((item) => !item.video);
    const { current } = store.state;
    // What is not searched yet would be saved with its faces open.
    const ready = { save: isDone(current), all: images.every(isDone) };
    for (const id of BUTTONS) {
      byId<HTMLButtonElement>(id).disabled =
        saving || !(id.endsWith('save') ? ready.save : ready.all);
    }
  };
  for (const id of ['save', 'bar-save'])
    onClick(
      id,
      guarded(() => saveOne(store, engine)),
    );
  onClick(
    'save-all',
    guarded(() => saveAll(store, engine)),
  );
  onClick(
    'save-boxes',
    guarded(async () => {
      const { items, settings } = store.state;
      const json = boxesJson(
        items.filter((item) => !item.video),
        settings,
      );
      download(new Blob([json], { type: 'application/json' }), 'faces.jsonl');
      announce('Boxes saved as faces.jsonl.');
    }),
  );
  store.subscribe(draw);
}

function isDone(item: Item | null): boolean {
  return item?.state === 'ready' || item?.state === 'failed';
}

async function saveOne(store: Store, engine: Promise<Engine>): Promise<void> {
  const { current: item } = store.state;
  if (!item) return;
  // They may be changed while the image is encoded.
  const settings = { ...store.state.settings };
  const name = savedName(item, settings);
  const { blob, more } = await encode(item, settings, engine);
  download(blob, name);
  showMore(store, item, more);
  store.change(() => {
    item.saved = true;
  });
  announce(`${name} saved.`);
}

async function saveAll(store: Store, engine: Promise<Engine>): Promise<void> {
  const settings = { ...store.state.settings };
  const items = store.state.items.filter((item) => !item.video);
  const saved: Item[] = [];
  const button = byId('save-all');
  const text = button.textContent;
  try {
    const blob = await encodeAll(items, settings, engine, (item, result) => {
      if (result instanceof Error) notify(`${item.name}: not saved, ${result.message}`);
      else {
        saved.push(item);
        showMore(store, item, result.more);
      }
      button.textContent = `${saved.length} of ${items.length}`;
    });
    if (saved.length > 0) download(blob, 'photos.zip');
  } finally {
    button.textContent = text;
  }
  store.change(() => {
    for (const item of saved) item.saved = true;
  });
  announce(
    saved.length > 0
      ? `${plural(saved.length, 'photo')} saved as photos.zip.`
      : 'None of the photos could be saved.',
  );
}

/** Frame the faces that a second look found, and say so. */
function showMore(store: Store, item: Item, more: Face[]): void {
  if (more.length === 0) return;
  store.change(() => {
    item.regions = addFaces(item.regions, more, item.height);
  });
  notify(`${item.name}: a second look covered ${plural(more.length, 'more face')}.`);
}
