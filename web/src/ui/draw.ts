/** Dragging on the image: over it a new box, from an added box this box. */

import type { Box, Item, Region } from '../items.ts';
import { type Store, viewOf } from '../store.ts';
import { inside, moved } from './boxes.ts';
import { make } from './dom.ts';

/** Pixels of the screen from which a press is a drag and not a click. */
const SLACK = 6;
/** Pixels of the screen below which a box is not added. */
const MIN_SIDE = 6;

type Point = [number, number];

interface Drag {
  pointer: number;
  item: Item;
  start: Point;
  /** The added box that is moved, and where it was. */
  region: Region | null;
  box: Box | null;
  /** The new box while it is drawn; null before the press is a drag. */
  rubberBand: HTMLElement | null;
  moving: boolean;
}

export function addDrawing(store: Store, layer: HTMLElement, add: (box: Box) => void): void {
  let drag: Drag | null = null;
  const cancel = () => {
    if (drag?.region && drag.box) drag.region.box = drag.box;
    drag?.rubberBand?.remove();
    drag = null;
    store.change(() => {});
  };
  layer.addEventListener('pointerdown', (event) => {
    const item = store.state.current;
    // A second finger zooms the page.
    if (drag) return cancel();
    if (!item || event.button !== 0 || viewOf(store.state) !== 'image' || item.width === 0) return;
    const region = regionAt(item, event);
    drag = {
      pointer: event.pointerId,
      item,
      start: [event.clientX, event.clientY],
      region,
      box: region?.box ?? null,
      rubberBand: null,
      moving: false,
    };
  });
  layer.addEventListener('pointermove', (event) => {
    if (drag?.pointer !== event.pointerId) return;
    const { start } = drag;
    if (!drag.moving && Math.hypot(event.clientX - start[0], event.clientY - start[1]) < SLACK) {
      return;
    }
    if (!drag.moving) layer.setPointerCapture(event.pointerId);
    drag.moving = true;
    follow(store, layer, drag, event);
  });
  layer.addEventListener('pointerup', (event) => {
    if (drag?.pointer !== event.pointerId) return;
    if (drag.moving && !drag.region) addDrawn(layer, drag, event, add);
    drag.rubberBand?.remove();
    // The click that ends a drag toggles nothing.
    if (drag.moving) swallowClick(layer);
    drag = null;
  });
  layer.addEventListener('pointercancel', cancel);
  window.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && drag) cancel();
  });
}

function regionAt(item: Item, event: PointerEvent): Region | null {
  const id = (event.target as HTMLElement).dataset.region;
  return item.regions.find((region) => region.added && String(region.id) === id) ?? null;
}

function follow(store: Store, layer: HTMLElement, drag: Drag, event: PointerEvent): void {
  const { item, region, box, start } = drag;
  const area = layer.getBoundingClientRect();
  if (region && box) {
    const scale = item.width / area.width;
    const [across, down] = [event.clientX - start[0], event.clientY - start[1]];
    store.change(() => {
      region.box = moved(box, across * scale, down * scale, item);
      item.saved = false;
    });
    return;
  }
  drag.rubberBand ??= layer.appendChild(make('div', 'rubber-band'));
  const [x1, y1, x2, y2] = drawnBox(area, drag, event);
  const style = drag.rubberBand.style;
  style.left = `${x1}px`;
  style.top = `${y1}px`;
  style.width = `${x2 - x1}px`;
  style.height = `${y2 - y1}px`;
}

/** The box from the start of the drag to the pointer, in pixels of the layer, cut off at it. */
function drawnBox(area: DOMRect, { start }: Drag, event: PointerEvent): Box {
  const limit = (value: number, most: number) => Math.min(Math.max(value, 0), most);
  const across = [start[0], event.clientX].map((x) => limit(x - area.left, area.width));
  const down = [start[1], event.clientY].map((y) => limit(y - area.top, area.height));
  return [Math.min(...across), Math.min(...down), Math.max(...across), Math.max(...down)];
}

function addDrawn(layer: HTMLElement, drag: Drag, event: PointerEvent, add: (box: Box) => void) {
  const area = layer.getBoundingClientRect();
  const box = drawnBox(area, drag, event);
  if (box[2] - box[0] < MIN_SIDE || box[3] - box[1] < MIN_SIDE) return;
  const scale = drag.item.width / area.width;
  add(inside(box.map((side) => side * scale) as Box, drag.item));
}

function swallowClick(layer: HTMLElement): void {
  const swallow = (event: Event) => {
    event.stopPropagation();
    event.preventDefault();
  };
  layer.addEventListener('click', swallow, { capture: true, once: true });
  // A drag need not end in a click.
  setTimeout(() => layer.removeEventListener('click', swallow, { capture: true }));
}
