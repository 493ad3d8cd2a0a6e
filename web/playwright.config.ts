import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from '@playwright/test';
import { launchWithCamera } from './chromium.mjs';

const PORT = 8471;
const PYTHON = process.env.PYTHON ?? '../.venv/bin/python';
/** Where `make_inputs.py` puts what the tests open. */
process.env.EXTD_INPUTS ??= join(tmpdir(), `extd-web-${process.pid}`);

export default defineConfig({
  testDir: 'test/browser',
  globalSetup: './test/browser/setup.ts',
  outputDir: 'node_modules/.playwright',
  // Two cores: the page and its detector.
  workers: 1,
  // Far above what they take: a busy machine is no fault of the page.
  timeout: 900_000,
  expect: { timeout: 300_000 },
  reporter: 'list',
  use: {
    baseURL: `http://127.0.0.1:${PORT}/`,
    viewport: { width: 1280, height: 800 },
    launchOptions: launchWithCamera(process.env.EXTD_INPUTS),
  },
  webServer: {
    command: `${PYTHON} -m extd web --port ${PORT}`,
    url: `http://127.0.0.1:${PORT}/`,
  },
});
