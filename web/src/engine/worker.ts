/** Detects, one image after another, off the thread that draws the page. */

import glueUrl from 'onnxruntime-web/ort-wasm-simd-threaded.mjs?url';
import wasmUrl from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url';
import { env } from 'onnxruntime-web/wasm';
// WebAssembly is 2 to 3 times as fast with int8 as with float; see docs/web.md.
import liteUrl from '../../../src/extd/weights/extd-lite-int8.onnx?url';
import nanoUrl from '../../../src/extd/weights/extd-lite-nano-int8.onnx?url';
import { detect } from './detector.ts';
import type { Detection, Reply, Request } from './engine.ts';
import { loadNetwork, type Network } from './network.ts';
import { readPixels } from './pixels.ts';
import type { ModelName } from './types.ts';

/** More threads hardly help networks this small. */
const MAX_THREADS = 8;

const MODELS: Record<ModelName, string> = { 'extd-lite': liteUrl, 'extd-lite-nano': nanoUrl };
const networks = new Map<ModelName, Promise<Network>>();

env.wasm.wasmPaths = { mjs: glueUrl, wasm: wasmUrl };
// Threads share memory, which browsers allow only isolated pages.
env.wasm.numThreads = self.crossOriginIsolated
  ? Math.min(navigator.hardwareConcurrency, MAX_THREADS)
  : 1;

async function load(model: ModelName): Promise<Network> {
  const response = await fetch(new URL(MODELS[model], import.meta.url));
  if (!response.ok) throw new Error(`the model ${model} did not load: ${response.status}`);
  return loadNetwork(new Uint8Array(await response.arrayBuffer()));
}

/** The network of that name, from the first use on. */
function network(model: ModelName): Promise<Network> {
  let loading = networks.get(model);
  if (!loading) {
    loading = load(model);
    networks.set(model, loading);
    // A network that did not load, as without a connection, may load next time.
    loading.catch(() => networks.delete(model));
  }
  return loading;
}

async function answer({ image, options }: Request): Promise<Detection> {
  try {
    const loaded = await network(options.model);
    const start = performance.now();
    const faces = await detect(loaded, readPixels(image), options);
    return { faces, milliseconds: performance.now() - start };
  } finally {
    // It is a copy; frames hold memory of the decoder until they are closed.
    if ('close' in image) image.close();
  }
}

let before: Promise<unknown> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<Request>) => {
  const { id } = data;
  before = before
    .then(() => answer(data))
    .then(
      (detection): Reply => ({ id, detection }),
      (error: unknown): Reply => ({
        id,
        error: error instanceof Error ? error.message : String(error),
      }),
    )
    .then((reply) => self.postMessage(reply));
};
