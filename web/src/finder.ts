/** Finds the faces of the images that wait, one after the other, the one on show first. */

import { decode, type Previews, toPreview, toThumb } from './decode.ts';
import type { Engine } from './engine/engine.ts';
import type { ModelName } from './engine/types.ts';
import { describe, type Item, MIN_THRESHOLD, mergeRegions } from './items.ts';
import { removeItem, type Store } from './store.ts';
import { announce, notify } from './ui/notices.ts';

export interface Finder {
  /** Look for images that wait. */
  wake(): void;
  /** Search all images again, with another model. */
  restart(model: ModelName): void;
}

export function createFinder(store: Store, previews: Previews, engine: Promise<Engine>): Finder {
  let working = false;
  const work = async () => {
    if (working) return;
    working = true;
    for (let item = next(store); item; item = next(store)) {
      await find(store, previews, engine, item);
    }
    working = false;
  };
  return {
    wake: () => void work(),
    restart(model) {
      store.change(({ items, settings }) => {
        settings.model = model;
        for (const item of items) item.state = 'waiting';
      });
      void work();
    },
  };
}

function next({ state }: Store): Item | undefined {
  if (state.current?.state === 'waiting') return state.current;
  return state.items.find((item) => item.state === 'waiting');
}

async function find(
  store: Store,
  previews: Previews,
  engine: Promise<Engine>,
  item: Item,
): Promise<void> {
  const { model } = store.state.settings;
  store.change(() => {
    item.state = 'finding';
  });
  const bitmap = await open(store, previews, item);
  if (!bitmap) return;
  let found = false;
  try {
    const options = { threshold: MIN_THRESHOLD, model };
    const { faces, milliseconds } = await (await engine).detect(bitmap, options);
    item.regions = mergeRegions(item.regions, faces, bitmap.height);
    item.milliseconds = milliseconds;
    found = true;
  } catch (error) {
    notify(`${item.name}: the search for faces failed (${messageOf(error)})`);
  }
  bitmap.close();
  store.change(({ settings }) => {
    // The model may have changed meanwhile.
    if (settings.model !== model) item.state = 'waiting';
    else item.state = found ? 'ready' : 'failed';
  });
  if (item === store.state.current) {
    announce(`${item.name}: ${describe(item, store.state.settings)}`);
  }
}

/** Decode an item and keep its preview and thumbnail; null if that fails, which a line says. */
async function open(store: Store, previews: Previews, item: Item): Promise<ImageBitmap | null> {
  try {
    const bitmap = await decode(item);
    const preview = toPreview(bitmap);
    if (item === store.state.current) previews.put(item, preview);
    store.change(() => {
      item.width = bitmap.width;
      item.height = bitmap.height;
      item.thumb = toThumb(preview);
    });
    return bitmap;
  } catch (error) {
    // A video may be covered even if it cannot be played here.
    if (item.video) {
      store.change(() => {
        item.state = 'ready';
      });
    } else {
      notify(`${item.name}: ${messageOf(error)}`);
      removeItem(store, item);
    }
    return null;
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
