import { test as base, expect, type Page } from '@playwright/test';

/** A page that may ask nobody but its own server, and logs no error. */
export const test = base.extend({
  page: async ({ page, context, baseURL }, use) => {
    const foreignRequests: string[] = [];
    const errors: string[] = [];
    context.on('request', (request) => {
      const url = request.url();
      if (!url.startsWith(baseURL!) && !url.startsWith('blob:')) foreignRequests.push(url);
    });
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => {
      // What a policy forbids is told here.
      if (message.text().includes('Content Security Policy')) errors.push(message.text());
    });
    await page.goto('./');
    await use(page);
    expect(foreignRequests).toEqual([]);
    expect(errors).toEqual([]);
  },
});

/** Open files and wait until all of them are searched. */
export async function open(page: Page, ...files: string[]): Promise<void> {
  await page.setInputFiles('#files', files);
  await expect(page.locator('.thumb').first()).toBeVisible();
  await expect(page.locator('.badge.busy')).toHaveCount(0);
}

/** Save by a button and return where the file lies, and its name. */
export async function save(page: Page, button: string): Promise<{ path: string; name: string }> {
  const waiting = page.waitForEvent('download');
  await page.getByRole('button', { name: button, exact: true }).click();
  const download = await waiting;
  const name = download.suggestedFilename();
  const path = test.info().outputPath(name);
  await download.saveAs(path);
  return { path, name };
}

export { expect };
