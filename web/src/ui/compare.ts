/** The original, as long as the button or the C key is held. */

import { byId } from './dom.ts';
import type { Stage } from './stage.ts';

export function createCompare(stage: Stage): void {
  const button = byId('compare');
  const on = () => stage.compare(true);
  const off = () => stage.compare(false);
  button.addEventListener('pointerdown', on);
  button.addEventListener('keydown', (event) => {
    if (event.key === ' ' || event.key === 'Enter') on();
  });
  // A long press opens no menu.
  button.addEventListener('contextmenu', (event) => event.preventDefault());
  window.addEventListener('keydown', (event) => {
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (event.key.toLowerCase() === 'c' && plain) on();
  });
  for (const end of ['pointerup', 'pointercancel', 'keyup', 'blur']) {
    window.addEventListener(end, off);
  }
}
