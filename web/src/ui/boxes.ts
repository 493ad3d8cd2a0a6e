/** The boxes around faces: buttons over the image, in the order in which Tab goes. */

import { type Box, type Item, newId, type Region, shownRegions } from '../items.ts';
import { type Store, viewOf } from '../store.ts';
import { byId, icon, make } from './dom.ts';
import { addDrawing } from './draw.ts';

/** Share of the image's longer side that an arrow key moves an added box by. */
const STEP = 0.01;
/** Share of the image's shorter side that a box takes that was added without a drag. */
const NEW_BOX = 0.2;

export interface BoxLayer {
  draw(item: Item): void;
}

export function createBoxes(store: Store): BoxLayer {
  const layer = byId('faces');
  const buttons = new Map<number, HTMLButtonElement>();
  const removers = new Map<number, HTMLButtonElement>();
  const toggle = (region: Region) =>
    edit(store, () => {
      region.kept = !region.kept;
    });
  addDrawing(store, layer, (box) => addBox(store, box));
  byId('add-box').addEventListener('click', () => {
    const item = store.state.current;
    if (!item) return;
    const region = addBox(store, middle(item));
    // The button is there after the views are drawn.
    setTimeout(() => buttons.get(region.id)?.focus());
  });
  const boxOf = (region: Region) => {
    const button = make('button', region.added ? 'face added' : 'face');
    button.type = 'button';
    button.dataset.region = String(region.id);
    button.addEventListener('click', () => toggle(region));
    if (region.added)
      button.addEventListener('keydown', (event) => moveByKey(store, region, event));
    return button;
  };
  return {
    draw(item) {
      const regions =
        viewOf(store.state) === 'image' ? shownRegions(item, store.state.settings) : [];
      const added = regions.filter((region) => region.added);
      sync(buttons, regions, boxOf);
      sync(removers, added, (region) => removerOf(store, region));
      regions.forEach((region, index) => {
        const button = buttons.get(region.id)!;
        const remover = removers.get(region.id);
        place(button, region.box, item);
        label(button, region, index, regions.length);
        if (button.parentElement !== layer) layer.append(button);
        if (!remover) return;
        // Moved between press and release, a button would get no click.
        if (button.nextElementSibling !== remover) button.after(remover);
        placeRemover(remover, region.box, item);
        remover.setAttribute('aria-label', `Remove added box ${added.indexOf(region) + 1}`);
      });
    },
  };
}

/** Make the elements of the regions that have none, and remove those of regions that are gone. */
function sync(
  elements: Map<number, HTMLButtonElement>,
  regions: Region[],
  create: (region: Region) => HTMLButtonElement,
): void {
  const ids = new Set(regions.map((region) => region.id));
  for (const [id, element] of elements) {
    if (ids.has(id)) continue;
    element.remove();
    elements.delete(id);
  }
  for (const region of regions) {
    if (!elements.has(region.id)) elements.set(region.id, create(region));
  }
}

function label(button: HTMLButtonElement, region: Region, index: number, count: number): void {
  const what = region.added ? 'added box' : 'face';
  button.setAttribute('aria-pressed', String(!region.kept));
  button.setAttribute('aria-label', `Cover ${what} ${index + 1} of ${count}`);
  button.title = region.added ? 'Added box' : `Face, score ${region.score.toFixed(2)}`;
}

function place(element: HTMLElement, [x1, y1, x2, y2]: Box, { width, height }: Item): void {
  element.style.left = `${(x1 / width) * 100}%`;
  element.style.top = `${(y1 / height) * 100}%`;
  element.style.width = `${((x2 - x1) / width) * 100}%`;
  element.style.height = `${((y2 - y1) / height) * 100}%`;
}

function placeRemover(element: HTMLElement, [, y1, x2]: Box, { width, height }: Item): void {
  element.style.left = `${(x2 / width) * 100}%`;
  element.style.top = `${(y1 / height) * 100}%`;
}

function removerOf(store: Store, region: Region): HTMLButtonElement {
  const button = make('button', 'face-remove');
  button.type = 'button';
  button.append(icon('close'));
  button.addEventListener('click', () => removeRegion(store, region));
  return button;
}

function edit(store: Store, change: (item: Item) => void): void {
  store.change(({ current }) => {
    if (!current) return;
    change(current);
    current.saved = false;
  });
}

function addBox(store: Store, box: Box): Region {
  const region: Region = { id: newId(), box, score: 1, kept: false, added: true };
  edit(store, (item) => item.regions.push(region));
  return region;
}

function removeRegion(store: Store, region: Region): void {
  edit(store, (item) => {
    item.regions = item.regions.filter((other) => other !== region);
  });
  byId('add-box').focus();
}

/** Keep all faces of the image on show open, or cover them all. */
export function keepAll(store: Store, kept: boolean): void {
  edit(store, (item) => {
    for (const region of shownRegions(item, store.state.settings)) region.kept = kept;
  });
}

function middle({ width, height }: Item): Box {
  const half = (NEW_BOX * Math.min(width, height)) / 2;
  return [width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half];
}

/** Arrow keys move an added box, with Shift they size it; Delete removes it. */
function moveByKey(store: Store, region: Region, event: KeyboardEvent): void {
  if (event.key === 'Delete' || event.key === 'Backspace') {
    event.preventDefault();
    removeRegion(store, region);
    return;
  }
  const arrows: Record<string, [number, number]> = {
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, -1],
    ArrowDown: [0, 1],
  };
  const arrow = arrows[event.key];
  if (!arrow) return;
  event.preventDefault();
  edit(store, (item) => {
    const step = STEP * Math.max(item.width, item.height);
    const [across, down] = [arrow[0] * step, arrow[1] * step];
    const [x1, y1, x2, y2] = region.box;
    region.box = event.shiftKey
      ? inside([x1, y1, Math.max(x2 + across, x1 + step), Math.max(y2 + down, y1 + step)], item)
      : moved(region.box, across, down, item);
  });
}

/** The box shifted, no further than the borders. */
export function moved([x1, y1, x2, y2]: Box, across: number, down: number, item: Item): Box {
  const right = Math.min(Math.max(across, -x1), item.width - x2);
  const below = Math.min(Math.max(down, -y1), item.height - y2);
  return [x1 + right, y1 + below, x2 + right, y2 + below];
}

export function inside([x1, y1, x2, y2]: Box, { width, height }: Item): Box {
  return [Math.max(x1, 0), Math.max(y1, 0), Math.min(x2, width), Math.min(y2, height)];
}
