/** What `run.mjs` has the browser measure. */

import glueUrl from 'onnxruntime-web/ort-wasm-simd-threaded.mjs?url';
import wasmUrl from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url';
import { env } from 'onnxruntime-web/wasm';
import { createEngine } from '../src/engine/engine.ts';
import { loadNetwork, runNetwork } from '../src/engine/network.ts';
import type { ModelName } from '../src/engine/types.ts';
import { coverVideo } from '../src/video/video.ts';

const SIZE = { width: 640, height: 480 };
const models = import.meta.glob<string>('../../src/extd/weights/extd-lite*.onnx', {
  query: '?url',
  import: 'default',
  eager: true,
});

/** The milliseconds of the fastest of some runs, after one more: other programs only slow it. */
async function fastest(runs: number, run: () => Promise<unknown>): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  await run();
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await run();
    least = Math.min(least, performance.now() - start);
  }
  return least;
}

/** Milliseconds for each model's network alone. */
async function networks(threads: number, runs: number): Promise<Record<string, number>> {
  env.wasm.wasmPaths = { mjs: glueUrl, wasm: wasmUrl };
  env.wasm.numThreads = threads;
  const data = new Uint8Array(SIZE.width * SIZE.height * 3).fill(100);
  const result: Record<string, number> = {};
  for (const [path, url] of Object.entries(models)) {
    const response = await fetch(url);
    const network = await loadNetwork(new Uint8Array(await response.arrayBuffer()));
    const image = { data, ...SIZE, channels: 3 };
    result[path.split('/').pop()!] = await fastest(runs, () => runNetwork(network, image, 0.3));
    await network.release();
  }
  return result;
}

/** Milliseconds for a frame of the camera, as the page detects in it. */
async function frames(model: ModelName, runs: number): Promise<number> {
  const engine = await createEngine();
  const canvas = new OffscreenCanvas(SIZE.width, SIZE.height);
  canvas.getContext('2d');
  const result = await fastest(runs, async () => {
    const frame = new VideoFrame(canvas, { timestamp: 0 });
    await engine.detect(frame, { threshold: 0.3, model });
    frame.close();
  });
  engine.close();
  return result;
}

/** Seconds to cover the chosen video, and where what came out is. */
async function video(model: ModelName): Promise<{ seconds: number; type: string; url: string }> {
  const engine = await createEngine();
  const file = document.querySelector('input')!.files![0];
  const start = performance.now();
  const { blob } = await coverVideo(file, engine, {
    model,
    threshold: 0.3,
    style: 'blur',
    margin: 0.25,
    onProgress() {},
    signal: new AbortController().signal,
  });
  const seconds = (performance.now() - start) / 1000;
  engine.close();
  return { seconds, type: blob.type, url: URL.createObjectURL(blob) };
}

Object.assign(window, { bench: { networks, frames, video } });
