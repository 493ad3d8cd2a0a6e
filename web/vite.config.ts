import { defaultClientConditions } from 'vite';
import { defineConfig } from 'vitest/config';
import { offline } from './offline.ts';

export default defineConfig({
  // A host may serve the page from any folder.
  base: './',
  // The wheel extd-web holds what is built.
  build: {
    outDir: 'python/extd_web/dist',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: ['index.html', 'src/sw.ts'],
      // The service worker's name must stay: browsers ask for it again and again.
      output: {
        entryFileNames: ({ name }) => (name === 'sw' ? 'sw.js' : 'assets/[name]-[hash].js'),
      },
    },
  },
  plugins: [offline()],
  worker: { format: 'es' },
  // Without this ONNX Runtime would pack its glue code into the worker, and its threads would
  // start the whole worker again.
  resolve: { conditions: [...defaultClientConditions, 'onnxruntime-web-use-extern-wasm'] },
  server: {
    // The models lie in the Python package.
    fs: { allow: ['..'] },
    headers: {
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
    },
  },
  // Far above what they take: a busy machine is no fault of the page.
  test: { include: ['test/**/*.test.ts'], testTimeout: 300_000 },
});
