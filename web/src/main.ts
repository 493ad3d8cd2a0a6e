/** Puts the page together. */

import { createPreviews } from './decode.ts';
import { createEngine } from './engine/engine.ts';
import { createFinder, messageOf } from './finder.ts';
import { DEFAULTS } from './items.ts';
import { createStore, removeItem } from './store.ts';
import { createCamera } from './ui/camera.ts';
import { createCompare } from './ui/compare.ts';
import { byId, onClick } from './ui/dom.ts';
import { createIntake } from './ui/intake.ts';
import { notify } from './ui/notices.ts';
import { createPanel } from './ui/panel.ts';
import { createSaving } from './ui/saving.ts';
import { createStage } from './ui/stage.ts';
import { createStrip } from './ui/strip.ts';
import { createVideo } from './ui/video.ts';
import { createWelcome } from './ui/welcome.ts';
import { removeOldFiles } from './video/files.ts';

const engine = createEngine();
const store = createStore();
const previews = createPreviews();
const finder = createFinder(store, previews, engine);
const add = createIntake(store, finder);
createWelcome(add);
createPanel(store, finder);
createCompare(createStage(store, previews));
createStrip(store, (item) =>
  store.change((state) => {
    state.current = item;
    state.camera = false;
  }),
);
createSaving(store, engine);
createVideo(store, engine);
createCamera(store, engine, add);
onClick('remove', () => {
  if (store.state.current) removeItem(store, store.state.current);
  byId('main').focus();
});
store.change(() => {});
void removeOldFiles();
// Loads the detector, so that the first photo need not wait for it.
void engine
  .then((it) => it.detect(new ImageData(64, 64), { threshold: 0.5, model: DEFAULTS.model }))
  .catch((error: unknown) => notify(`The detector did not start: ${messageOf(error)}`));

if (import.meta.env.PROD && 'serviceWorker' in navigator) {
  // After the page is there, so that the two do not compete.
  window.addEventListener('load', () => {
    navigator.serviceWorker.register('sw.js').catch(() => {});
  });
}
