/** How fast the page itself is: `npm run bars URL INPUTS`, where `make_inputs.py` wrote INPUTS. */

import { chromium } from '@playwright/test';
import { launchWithCamera } from '../chromium.mjs';

const ROUNDS = 3;
const CAMERA_SECONDS = 8;
const [url, inputs] = process.argv.slice(2);
if (!inputs) throw new Error('usage: npm run bars URL INPUTS');

const browser = await chromium.launch(launchWithCamera(inputs));

/** Seconds from opening the page, with nothing cached, to the faces of a photo chosen at once. */
async function firstResult() {
  const context = await browser.newContext();
  const page = await context.newPage();
  const start = performance.now();
  await page.goto(url, { waitUntil: 'domcontentloaded' });
  await page.click('#sample');
  await page.waitForSelector('.face');
  const seconds = (performance.now() - start) / 1000;
  await context.close();
  return seconds;
}

/** Frames a second that the page itself shows after a while. */
async function camera() {
  const context = await browser.newContext({ permissions: ['camera'] });
  const page = await context.newPage();
  await page.goto(url);
  await page.click('#welcome-camera');
  await page.waitForTimeout(CAMERA_SECONDS * 1000);
  const text = await page.textContent('#count');
  await context.close();
  return text;
}

const seconds = [];
for (let i = 0; i < ROUNDS; i++) seconds.push(await firstResult());
console.log(`first result: ${Math.min(...seconds).toFixed(1)} s`);
console.log(`camera, 640x480: ${await camera()}`);
await browser.close();
