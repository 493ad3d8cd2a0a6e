/** Draws the PNG icons of public/ from icon.svg: `npm run icons`. */

import { readFileSync } from 'node:fs';
import { chromium } from '@playwright/test';
import { LAUNCH } from './chromium.mjs';

const svg = readFileSync('public/icon.svg', 'utf8');
const plain = svg.replace('<svg ', '<svg width="100%" height="100%" ');
// A maskable icon fills the square, with all that matters in the circle in its middle.
const maskable = plain
  .replace('rx="112"', '')
  .replace('viewBox="0 0 512 512"', 'viewBox="-64 -64 640 640" style="background:#0b6e5f"');

const browser = await chromium.launch(LAUNCH);
const page = await browser.newPage();
for (const [name, size, source] of [
  ['icon-192', 192, plain],
  ['icon-512', 512, plain],
  ['icon-maskable-512', 512, maskable],
]) {
  await page.setViewportSize({ width: size, height: size });
  await page.setContent(`<body style="margin:0;height:100vh">${source}</body>`);
  await page.screenshot({ path: `public/${name}.png`, omitBackground: true });
}
await browser.close();
