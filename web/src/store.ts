/** The page's state, and who is told when it changes. */

import { DEFAULTS, type Item, type Settings } from './items.ts';

export type View = 'welcome' | 'image' | 'video' | 'camera';

export interface State {
  items: Item[];
  current: Item | null;
  camera: boolean;
  settings: Settings;
}

export interface Store {
  readonly state: State;
  /** Edit the state; all views are drawn anew, once for all edits of the same task. */
  change(edit: (state: State) => void): void;
  subscribe(draw: () => void): void;
}

export function createStore(): Store {
  const state: State = { items: [], current: null, camera: false, settings: { ...DEFAULTS } };
  const views: (() => void)[] = [];
  let pending = false;
  return {
    state,
    change(edit) {
      edit(state);
      if (pending) return;
      pending = true;
      queueMicrotask(() => {
        pending = false;
        for (const draw of views) draw();
      });
    },
    subscribe(draw) {
      views.push(draw);
    },
  };
}

export function viewOf({ camera, current }: State): View {
  if (camera) return 'camera';
  if (!current) return 'welcome';
  return current.video ? 'video' : 'image';
}

/** Take an item off the list and show its neighbor. */
export function removeItem(store: Store, item: Item): void {
  item.video?.abort?.abort();
  void item.video?.result?.discard();
  store.change((state) => {
    const index = state.items.indexOf(item);
    if (index < 0) return;
    state.items.splice(index, 1);
    if (state.current === item) {
      state.current = state.items[index] ?? state.items[index - 1] ?? null;
    }
  });
}
