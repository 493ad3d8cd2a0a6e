import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { AxeResults } from 'axe-core';
import { expect, open, save, test } from './fixture.ts';
import { detect, EXAMPLES, INPUTS, python } from './python.ts';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

test('the camera covers faces, and a photo of it joins the list', async ({ page, context }) => {
  await page.getByRole('button', { name: 'Use the camera' }).click();
  await expect(page.locator('#notices')).toContainText('Camera: this page may not use it.');
  await context.grantPermissions(['camera']);
  await page.getByRole('button', { name: 'Use the camera' }).click();
  await expect(page.locator('#count')).toHaveText(/^1 face · \d+ frames a second$/);
  await page.getByRole('button', { name: 'Take a photo' }).click();
  await expect(page.locator('#count')).toContainText('1 face, covered');
  await expect(page.locator('.thumb')).toHaveCount(1);
  await page.evaluate(() => {
    const failure = new DOMException('', 'NotFoundError');
    navigator.mediaDevices.getUserMedia = () => Promise.reject(failure);
  });
  await page.getByRole('button', { name: 'Camera', exact: true }).click();
  await expect(page.locator('#notices')).toContainText('Camera: none was found.');
  await expect(page.locator('#count')).toContainText('1 face, covered');
});

for (const video of ['video.mp4', 'video.webm']) {
  test(`${video} is covered and keeps its sound`, async ({ page }) => {
    await open(page, `${INPUTS}/${video}`);
    await expect(page.locator('#count')).toContainText('1 face in its first frame');
    await page.getByRole('radio', { name: 'Solid' }).check();
    await page.getByRole('button', { name: 'Cover the video' }).click();
    const { path, name } = await save(page, 'Save the video');
    expect(name).toBe(video);
    // A cover may look a little like a face.
    const frames = detect(path, '--model', 'extd-lite-nano', '--threshold', '0.7');
    expect(frames).toHaveLength(50);
    expect(frames.filter(({ faces }) => faces.length > 0)).toEqual([]);
    const program =
      'import av, sys; print(sum(f.samples for f in av.open(sys.argv[1]).decode(audio=0)))';
    expect(Number(python(['-c', program, path]))).toBeGreaterThan(80_000);
  });
}

test('covered videos are removed from the disk', async ({ page }) => {
  const kept = () =>
    page.evaluate(async () => {
      const root = await navigator.storage.getDirectory();
      const folder = await root.getDirectoryHandle('videos', { create: true });
      const names: string[] = [];
      for await (const name of folder.keys()) names.push(name);
      return names;
    });
  const cover = async (button: string) => {
    await page.getByRole('button', { name: button }).click();
    await expect(page.getByRole('button', { name: 'Save the video' })).toBeVisible();
    return await kept();
  };
  await open(page, `${INPUTS}/video.mp4`);
  await page.getByRole('radio', { name: 'Fast' }).check();
  const first = await cover('Cover the video');
  expect(first).toHaveLength(1);
  const second = await cover('Cover again');
  expect(second).toHaveLength(1);
  expect(second).not.toEqual(first);
  await page.reload();
  await expect.poll(kept).toEqual([]);

  await open(page, `${INPUTS}/video.mp4`);
  await cover('Cover the video');
  await page.getByRole('button', { name: 'Remove from the list' }).click();
  await expect.poll(kept).toEqual([]);
});

test('photos are dropped and pasted; a line tells of missing WebCodecs', async ({ page }) => {
  await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(64, 64);
    canvas.getContext('2d');
    const blob = await canvas.convertToBlob();
    const give = (type: string, name: string) => {
      const data = new DataTransfer();
      data.items.add(new File([blob], name, { type: blob.type }));
      const event =
        type === 'paste'
          ? new ClipboardEvent(type, { clipboardData: data })
          : new DragEvent(type, { dataTransfer: data });
      window.dispatchEvent(event);
    };
    for (const type of ['dragenter', 'drop']) give(type, 'dropped.png');
    give('paste', 'pasted.png');
  });
  await expect(page.getByRole('button', { name: 'dropped.png: No faces found' })).toBeVisible();
  await expect(page.getByRole('button', { name: 'pasted.png: No faces found' })).toBeVisible();
  await expect(page.locator('#drop-overlay')).toBeHidden();
  await page.evaluate(() => Reflect.deleteProperty(window, 'VideoEncoder'));
  const waiting = page.waitForEvent('filechooser');
  await page.getByRole('button', { name: 'Add files' }).click();
  await (await waiting).setFiles(`${INPUTS}/video.mp4`);
  await expect(page.locator('#notices')).toContainText('video.mp4: this browser has no WebCodecs');
});

test('it works offline after the first load', async ({ page, context }) => {
  await page.evaluate(() => navigator.serviceWorker.ready);
  await expect.poll(() => page.evaluate(() => caches.keys())).toHaveLength(1);
  await context.setOffline(true);
  await page.reload();
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  await open(page, `${EXAMPLES}/grace_hopper.jpg`);
  await expect(page.locator('.face')).toHaveCount(1);
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`axe finds nothing (${colorScheme})`, async ({ page, context }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.evaluate(AXE);
    const check = async () => {
      const results = await page.evaluate(() =>
        (window as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run(),
      );
      const found = results.violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]);
      expect(found).toEqual([]);
    };
    await check();
    await open(page, `${EXAMPLES}/grace_hopper.jpg`, `${INPUTS}/broken.jpg`);
    await page.getByRole('button', { name: 'Add a box' }).click();
    await expect(page.getByRole('button', { name: 'Remove added box 1' })).toBeVisible();
    await check();
    await page.setInputFiles('#files', `${INPUTS}/video.mp4`);
    await expect(page.getByRole('button', { name: 'Cover the video' })).toBeVisible();
    await check();
    await context.grantPermissions(['camera']);
    await page.getByRole('button', { name: 'Camera', exact: true }).click();
    await expect(page.locator('#count')).toContainText('frames a second');
    await check();
  });
}
