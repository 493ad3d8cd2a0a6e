import { readFileSync } from 'node:fs';
import { strFromU8, unzipSync } from 'fflate';
import { expect, open, save, test } from './fixture.ts';
import { detect, EXAMPLES, INPUTS, type Line, python } from './python.ts';

/** The middle of a face in the first row of the Solvay photo. */
const EINSTEIN = [696, 507];

test('one face is kept, and only it is found in what was saved', async ({ page }) => {
  await page.getByRole('button', { name: /Try it with this photo/ }).click();
  const faces = page.getByRole('button', { name: /^Cover face / });
  await expect(faces).toHaveCount(29);
  await expect(page.locator('main')).toBeFocused();
  const area = (await page.locator('#faces').boundingBox())!;
  const scale = area.width / 1280;
  await page.mouse.click(area.x + EINSTEIN[0] * scale, area.y + EINSTEIN[1] * scale);
  await expect(page.locator('#count')).toContainText('29 faces, 28 covered, 1 kept');

  // With so low a threshold, hats count as faces once the faces are covered.
  await page.getByLabel('Threshold').fill('0.3');
  await page.getByRole('radio', { name: 'PNG' }).check();
  await page.getByRole('radio', { name: 'Solid' }).check();
  const { path, name } = await save(page, 'Save photo');
  expect(name).toBe('solvay_1927.png');
  await expect(page.locator('#notices')).toContainText(/a second look covered \d+ more face/);
  await expect(page.locator('#count')).toContainText(/[3-9]\d faces, \d+ covered, 1 kept/);
  const [line] = detect(path);
  expect([line.width, line.height]).toEqual([1280, 926]);
  expect(line.faces).toHaveLength(1);
  const [x1, y1, x2, y2] = line.faces[0].box;
  expect(x1 < EINSTEIN[0] && EINSTEIN[0] < x2 && y1 < EINSTEIN[1] && EINSTEIN[1] < y2).toBe(true);
});

test('photos turn upright and lose their metadata; lines tell what cannot be opened', async ({
  page,
}) => {
  const files = ['broken.jpg', 'sideways.jpg', 'huge.png', 'photo.heic'].map(
    (name) => `${INPUTS}/${name}`,
  );
  await open(page, ...files, `${EXAMPLES}/grace_hopper.jpg`);
  await expect(page.locator('.thumb')).toHaveCount(2);
  await expect(page.locator('#notices')).toContainText('broken.jpg: this browser cannot');
  await expect(page.locator('#notices')).toContainText('huge.png: it has 100 megapixels');
  await expect(page.locator('#notices')).toContainText('photo.heic: this browser cannot open HEIC');
  await expect(page.locator('.face')).toHaveCount(1);

  const { path } = await save(page, 'Save photo');
  const program =
    'import sys, PIL.Image as I; i = I.open(sys.argv[1]); print(i.size, dict(i.getexif()))';
  expect(python(['-c', program, path]).trim()).toBe('(400, 512) {}');
  expect(detect(path)[0].faces).toEqual([]);

  const zip = unzipSync(readFileSync((await save(page, 'All as ZIP')).path));
  expect(Object.keys(zip)).toEqual(['sideways.jpg', 'grace_hopper.jpg']);
  const boxes = readFileSync((await save(page, 'Boxes as JSON')).path, 'utf8');
  const lines: Line[] = boxes
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.map(({ path, faces }) => [path, faces.length])).toEqual([
    ['sideways.jpg', 1],
    ['grace_hopper.jpg', 1],
  ]);
  const known = detect(`${EXAMPLES}/grace_hopper.jpg`)[0].faces[0].box;
  for (const i of [0, 1, 2, 3])
    expect(Math.abs(lines[1].faces[0].box[i] - known[i])).toBeLessThan(1);
  expect(strFromU8(zip['sideways.jpg'], true)).not.toContain('Exif');
});

test('keyboard and mouse keep faces, add boxes and remove them', async ({ page }) => {
  await open(page, `${EXAMPLES}/grace_hopper.jpg`);
  const face = page.getByRole('button', { name: /^Cover face 1 of / });
  await face.focus();
  await page.keyboard.press('Enter');
  await expect(face).toHaveAttribute('aria-pressed', 'false');
  await page.keyboard.press('Space');
  await expect(face).toHaveAttribute('aria-pressed', 'true');

  const area = (await page.locator('#faces').boundingBox())!;
  await page.mouse.move(area.x + 10, area.y + 10);
  await page.mouse.down();
  await page.mouse.move(area.x + 70, area.y + 90, { steps: 4 });
  await page.mouse.up();
  const added = page.getByRole('button', { name: /^Cover added box/ });
  await expect(added).toHaveCount(1);
  await expect(page.locator('#count')).toContainText('2 faces, all covered');
  // Tab goes from the face to the box, arrows move it.
  await face.focus();
  await page.keyboard.press('Tab');
  await expect(added).toBeFocused();
  const before = (await added.boundingBox())!;
  await page.keyboard.press('ArrowRight');
  await expect.poll(async () => (await added.boundingBox())!.x).toBeGreaterThan(before.x);
  await page.keyboard.press('Delete');
  await expect(added).toHaveCount(0);

  await page.getByRole('button', { name: 'Add a box' }).click();
  await expect(added).toBeFocused();
  await page.getByRole('button', { name: 'Remove added box 1' }).click();
  await expect(added).toHaveCount(0);
});

test('sliders, styles and the original', async ({ page }) => {
  await open(page, `${EXAMPLES}/grace_hopper.jpg`);
  const pixels = () =>
    page.evaluate(() => (document.getElementById('canvas') as HTMLCanvasElement).toDataURL());
  const blurred = await pixels();
  await page.keyboard.down('c');
  await expect.poll(pixels).not.toBe(blurred);
  const original = await pixels();
  await page.keyboard.up('c');
  await expect.poll(pixels).toBe(blurred);
  await page.getByRole('radio', { name: 'Solid' }).check();
  await expect.poll(pixels).not.toBe(blurred);
  await page.getByLabel('Threshold').fill('0.95');
  await expect(page.locator('.face')).toHaveCount(0);
  await expect.poll(pixels).toBe(original);
  await page.getByRole('radio', { name: 'Fast' }).check();
  await page.getByLabel('Threshold').fill('0.5');
  await expect(page.locator('.face')).toHaveCount(1);
});
