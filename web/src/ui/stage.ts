/** The image on show, with its faces covered. */

import { cover } from '../cover/cover.ts';
import type { Previews } from '../decode.ts';
import { messageOf } from '../finder.ts';
import { type Box, coveredBoxes, describe, type Item } from '../items.ts';
import { type Store, viewOf } from '../store.ts';
import { createBoxes } from './boxes.ts';
import { byId } from './dom.ts';

export interface Stage {
  /** Show the original while true. */
  compare(on: boolean): void;
}

export function createStage(store: Store, previews: Previews): Stage {
  const boxes = createBoxes(store);
  let comparing = false;
  let drawn = '';
  const draw = () => {
    const { current: item, camera } = store.state;
    drawText(store);
    if (!item || camera) {
      drawn = '';
      return;
    }
    boxes.draw(item);
    const preview = previews.peek(item);
    if (!preview) {
      fetchPreview(item);
      return;
    }
    const signature = signatureOf(store, item, comparing);
    if (signature === drawn) return;
    drawn = signature;
    drawPreview(store, item, preview, comparing);
  };
  const loading = new Set<Item>();
  const fetchPreview = async (item: Item) => {
    // The finder brings the preview of what it searches.
    if (item.state === 'finding' || loading.has(item) || (item.video && item.width === 0)) return;
    loading.add(item);
    try {
      await previews.get(item);
      draw();
    } catch (error) {
      showNote(messageOf(error));
    } finally {
      loading.delete(item);
    }
  };
  store.subscribe(draw);
  return {
    compare(on) {
      if (on === comparing) return;
      comparing = on;
      byId('image').classList.toggle('comparing', on);
      byId('compare').setAttribute('aria-pressed', String(on));
      draw();
    },
  };
}

/** What the drawn image depends on. */
function signatureOf(store: Store, item: Item, comparing: boolean): string {
  const { settings } = store.state;
  const covered = comparing ? null : coveredBoxes(item, settings);
  return JSON.stringify([item.id, covered, settings.style, settings.margin]);
}

function drawPreview(store: Store, item: Item, preview: HTMLCanvasElement, bare: boolean): void {
  const { settings } = store.state;
  const canvas = byId<HTMLCanvasElement>('canvas');
  const context = canvas.getContext('2d', { willReadFrequently: true })!;
  if (canvas.width !== preview.width || canvas.height !== preview.height) {
    canvas.width = preview.width;
    canvas.height = preview.height;
  }
  setShape(preview.width, preview.height);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(preview, 0, 0);
  if (bare) return;
  const scale = preview.width / item.width;
  const boxes = coveredBoxes(item, settings).map((box) => box.map((side) => side * scale) as Box);
  cover(context, boxes, settings.style, settings.margin);
}

/** Tell the style sheet how wide the image is for its height. */
export function setShape(width: number, height: number): void {
  byId('image').style.setProperty('--shape', String(width / height));
}

/** A line in place of the image. */
export function showNote(text: string): void {
  const note = byId('stage-note');
  note.textContent = text;
  note.hidden = text === '';
}

function drawText({ state }: Store): void {
  const view = viewOf(state);
  const item = state.current;
  if (view === 'camera' || !item) return;
  const text = describe(item, state.settings);
  byId('name').textContent = item.name;
  byId('count').textContent = item.video && item.width === 0 ? 'Video' : text;
  const timed = item.state === 'ready' && item.milliseconds > 0;
  byId('time').textContent = timed ? ` · ${timeOf(item)}` : '';
  byId('canvas').setAttribute('aria-label', `${item.name}. ${text}`);
  const playing = item.video?.status === 'done';
  const unseen = item.video && item.width === 0 && item.state === 'ready' && !playing;
  showNote(unseen ? 'This browser shows no preview of this video. It may still cover it.' : '');
  byId('canvas').hidden = item.width === 0;
}

function timeOf({ milliseconds }: Item): string {
  return milliseconds < 1000
    ? `${Math.max(1, Math.round(milliseconds))} ms`
    : `${(milliseconds / 1000).toFixed(1)} s`;
}
