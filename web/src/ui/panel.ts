/** The settings beside the image. */

import type { Finder } from '../finder.ts';
import type { Settings } from '../items.ts';
import { type Store, viewOf } from '../store.ts';
import { keepAll } from './boxes.ts';
import { byId, onClick } from './dom.ts';

const percent = (value: number) => `${Math.round(value * 100)} %`;
const SLIDERS = {
  threshold: (value: number) => value.toFixed(2),
  margin: percent,
  quality: percent,
} as const;
type Slider = keyof typeof SLIDERS;

export function createPanel(store: Store, finder: Finder): void {
  const { settings } = store.state;
  for (const name of Object.keys(SLIDERS) as Slider[]) {
    const input = byId<HTMLInputElement>(name);
    input.value = String(settings[name]);
    input.addEventListener('input', () => change(store, { [name]: input.valueAsNumber }));
  }
  onRadio('style', (value) => change(store, { style: value as Settings['style'] }));
  onRadio('format', (value) => change(store, { format: value as Settings['format'] }));
  onRadio('model', (value) => {
    const model = value as Settings['model'];
    if (store.state.camera) change(store, { cameraModel: model });
    else finder.restart(model);
  });
  onClick('cover-all', () => keepAll(store, false));
  onClick('keep-all', () => keepAll(store, true));
  byId('panel').addEventListener('submit', (event) => event.preventDefault());
  store.subscribe(() => draw(store));
}

function onRadio(name: string, changed: (value: string) => void): void {
  for (const input of radios(name)) input.addEventListener('change', () => changed(input.value));
}

function radios(name: string): NodeListOf<HTMLInputElement> {
  return document.querySelectorAll<HTMLInputElement>(`input[name="${name}"]`);
}

/** Change settings that alter what is saved. */
function change(store: Store, settings: Partial<Settings>): void {
  store.change((state) => {
    Object.assign(state.settings, settings);
    for (const item of state.items) item.saved = false;
  });
}

function draw({ state }: Store): void {
  const view = viewOf(state);
  const { settings } = state;
  document.body.dataset.view = view;
  byId('welcome').hidden = view !== 'welcome';
  byId('editor').hidden = view === 'welcome';
  for (const element of document.querySelectorAll<HTMLElement>('[data-for]')) {
    element.hidden = !element.dataset.for!.split(' ').includes(view);
  }
  // What had the focus may be gone with its view.
  const focused = document.activeElement;
  if (focused && !focused.checkVisibility()) byId('main').focus({ preventScroll: true });
  for (const [name, format] of Object.entries(SLIDERS)) {
    byId(`${name}-value`).textContent = format(settings[name as Slider]);
    byId(name).setAttribute('aria-valuetext', format(settings[name as Slider]));
  }
  const model = view === 'camera' ? settings.cameraModel : settings.model;
  const chosen = { style: settings.style, format: settings.format, model };
  for (const [name, value] of Object.entries(chosen)) {
    for (const input of radios(name)) input.checked = input.value === value;
  }
  byId('quality-row').hidden = settings.format !== 'jpeg';
  byId('style-hint').hidden = settings.style === 'solid';
  const single = state.items.filter((item) => !item.video).length < 2;
  byId('save-all').hidden = single;
}
