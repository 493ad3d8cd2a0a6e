/** The buttons that save. */

import { messageOf } from '../finder.ts';
import { type Item, plural } from '../items.ts';
import { boxesJson } from '../save/boxes.ts';
import { download, encode, encodeAll, savedName } from '../save/save.ts';
import type { Store } from '../store.ts';
import { byId, onClick } from './dom.ts';
import { announce, notify } from './notices.ts';

const BUTTONS = ['save', 'bar-save', 'save-all', 'save-boxes'];

export function createSaving(store: Store): void {
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
      guarded(() => saveOne(store)),
    );
  onClick(
    'save-all',
    guarded(() => saveAll(store)),
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

async function saveOne(store: Store): Promise<void> {
  const { current: item } = store.state;
  if (!item) return;
  // They may be changed while the image is encoded.
  const settings = { ...store.state.settings };
  const name = savedName(item, settings);
  download(await encode(item, settings), name);
  store.change(() => {
    item.saved = true;
  });
  announce(`${name} saved.`);
}

async function saveAll(store: Store): Promise<void> {
  const { settings } = store.state;
  const items = store.state.items.filter((item) => !item.video);
  const saved: Item[] = [];
  const button = byId('save-all');
  const text = button.textContent;
  try {
    const blob = await encodeAll(items, { ...settings }, (item, failure) => {
      if (failure) notify(`${item.name}: not saved, ${messageOf(failure)}`);
      else saved.push(item);
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
