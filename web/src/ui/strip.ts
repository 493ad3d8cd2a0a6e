/** The list of images and videos below the one on show. */

import { describe, type Item, shownRegions } from '../items.ts';
import type { Store } from '../store.ts';
import { byId, icon, make } from './dom.ts';

export function createStrip(store: Store, select: (item: Item) => void): void {
  const list = byId('strip');
  const entries = new Map<Item, HTMLLIElement>();
  store.subscribe(() => {
    const { items, current, camera } = store.state;
    for (const [item, entry] of entries) {
      if (items.includes(item)) continue;
      entry.remove();
      entries.delete(item);
    }
    for (const item of items) {
      const entry = entries.get(item) ?? list.appendChild(entryOf(item, select));
      entries.set(item, entry);
      drawEntry(store, entry.firstElementChild as HTMLElement, item);
      const shown = item === current && !camera;
      const button = entry.firstElementChild!;
      if (shown && !button.ariaCurrent)
        entry.scrollIntoView?.({ block: 'nearest', inline: 'nearest' });
      button.ariaCurrent = shown ? 'true' : null;
    }
  });
}

function entryOf(item: Item, select: (item: Item) => void): HTMLLIElement {
  const entry = make('li');
  const button = make('button', 'thumb');
  button.type = 'button';
  button.addEventListener('click', () => select(item));
  button.append(make('canvas'), make('span', 'badge'));
  entry.append(button);
  return entry;
}

function drawEntry(store: Store, button: HTMLElement, item: Item): void {
  const [canvas, badge] = button.children as unknown as [HTMLElement, HTMLElement];
  if (item.thumb && canvas !== item.thumb) canvas.replaceWith(item.thumb);
  const busy = item.state === 'waiting' || item.state === 'finding';
  badge.className = busy || item.video?.status === 'covering' ? 'badge busy' : 'badge';
  badge.replaceChildren(...badgeOf(store, item, busy));
  const saved = item.saved ? ', saved' : '';
  button.setAttribute(
    'aria-label',
    `${item.name}: ${describe(item, store.state.settings)}${saved}`,
  );
  button.title = item.name;
}

function badgeOf(store: Store, item: Item, busy: boolean): (Node | string)[] {
  if (item.video?.status === 'covering') return [`${Math.floor(item.video.progress * 100)} %`];
  if (busy) return [];
  const check = item.saved ? [icon('check')] : [];
  if (item.video) return [icon('video'), ...check];
  return [
    ...check,
    item.state === 'failed' ? '!' : String(shownRegions(item, store.state.settings).length),
  ];
}
