/** Draws docs/web.webp, the page on a computer and on a phone: `npm run docs URL`. */

import { writeFileSync } from 'node:fs';
import { chromium } from '@playwright/test';
import { LAUNCH } from './chromium.mjs';

const PHOTOS = ['solvay_1927', 'astronaut', 'grace_hopper'].map((n) => `../examples/${n}.jpg`);
const HEIGHT = 900;
const GAP = 24;
const QUALITY = 0.85;
/** Minutes in which even a busy machine searches the photos. */
const TIMEOUT = 300_000;
/** The middles of two faces, as shares of the first photo's sides. */
const KEPT = [
  [0.0908, 0.549],
  [0.3766, 0.426],
];
const [url] = process.argv.slice(2);
if (!url) throw new Error('usage: npm run docs URL');

const browser = await chromium.launch(LAUNCH);

/** A screenshot as base64 of PNG. */
async function show(width, colorScheme) {
  const page = await browser.newPage({ viewport: { width, height: HEIGHT }, colorScheme });
  page.setDefaultTimeout(TIMEOUT);
  await page.goto(url);
  await page.setInputFiles('#files', PHOTOS);
  await page.waitForFunction((count) => {
    const done = document.querySelectorAll('.badge:not(.busy)').length;
    return done === count;
  }, PHOTOS.length);
  const { x, y, width: across, height: down } = await page.locator('#faces').boundingBox();
  for (const [right, below] of KEPT) await page.mouse.click(x + right * across, y + below * down);
  await page.mouse.move(0, 0);
  // It would tell how busy the machine was.
  await page.evaluate(() => document.getElementById('time').setAttribute('hidden', ''));
  const image = await page.screenshot();
  await page.close();
  return image.toString('base64');
}

/** The images side by side, as base64 of WebP; Playwright writes only PNG and JPEG. */
async function join(images) {
  const page = await browser.newPage();
  const joined = await page.evaluate(
    async ([sources, gap, quality]) => {
      const drawn = await Promise.all(
        sources.map(async (source) => {
          const image = new Image();
          image.src = `data:image/png;base64,${source}`;
          await image.decode();
          return image;
        }),
      );
      const canvas = document.createElement('canvas');
      canvas.width = drawn.reduce((sum, image) => sum + image.width + gap, -gap);
      canvas.height = Math.max(...drawn.map((image) => image.height));
      const context = canvas.getContext('2d');
      let left = 0;
      for (const image of drawn) {
        context.drawImage(image, left, 0);
        left += image.width + gap;
      }
      return canvas.toDataURL('image/webp', quality).split(',')[1];
    },
    [images, GAP, QUALITY],
  );
  await page.close();
  return joined;
}

const images = [await show(1440, 'light'), await show(416, 'dark')];
writeFileSync('../docs/web.webp', Buffer.from(await join(images), 'base64'));
await browser.close();
