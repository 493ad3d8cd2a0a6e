/** Lines about what did not work, and what screen readers are told. */

import { byId, icon, make } from './dom.ts';

/** Lines shown at a time; the oldest go. */
const MAX_LINES = 4;

/** Say in a line at the top what did not work. */
export function notify(text: string): void {
  const list = byId('notices');
  const line = make('li');
  const close = make('button', 'button quiet icon-only');
  close.type = 'button';
  close.setAttribute('aria-label', 'Dismiss');
  close.append(icon('close'));
  close.addEventListener('click', () => line.remove());
  line.append(make('span', '', text), close);
  list.append(line);
  while (list.children.length > MAX_LINES) list.firstElementChild!.remove();
}

/** Tell screen readers what happened. */
export function announce(text: string): void {
  byId('status').textContent = text;
}
