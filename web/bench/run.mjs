/**
 * Measure the detectors in Chromium: `npm run bench [VIDEO [RESULT]]`, after `npm ci`.
 *
 * Prints milliseconds for an image of 640 x 480 px, and the seconds that a video takes.
 */

import { chromium } from '@playwright/test';
import { createServer } from 'vite';
import { LAUNCH } from '../chromium.mjs';

const [video, result] = process.argv.slice(2);
const RUNS = 20;

const server = await createServer({ server: { port: 0, hmr: false, watch: null } });
await server.listen();
const browser = await chromium.launch(LAUNCH);
try {
  const url = new URL('bench/index.html', server.resolvedUrls.local[0]).href;
  const page = await browser.newPage();
  page.setDefaultTimeout(300_000);
  page.on('pageerror', (error) => console.error(error));
  const open = async () => {
    await page.goto(url);
    await page.waitForFunction('"bench" in window');
  };
  for (const threads of video ? [] : [1, 2]) {
    await open();
    const times = await page.evaluate(`bench.networks(${threads}, ${RUNS})`);
    for (const [name, time] of Object.entries(times)) {
      console.log(`${name}, ${threads} threads: ${time.toFixed(1)} ms`);
    }
  }
  for (const model of ['extd-lite-nano', 'extd-lite']) {
    await open();
    if (!video) {
      const time = await page.evaluate(`bench.frames('${model}', ${RUNS})`);
      console.log(`a frame of the camera with ${model}: ${time.toFixed(1)} ms`);
      continue;
    }
    await page.setInputFiles('input', video);
    const made = await page.evaluate(`bench.video('${model}')`);
    console.log(`${video} with ${model}: ${made.seconds.toFixed(1)} s, ${made.type}`);
    if (!result) continue;
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.evaluate(
        `Object.assign(document.createElement('a'), { href: '${made.url}', download: '' }).click()`,
      ),
    ]);
    await download.saveAs(result);
  }
} finally {
  await browser.close();
  await server.close();
}
