import { readFileSync } from 'node:fs';
import { inflateSync } from 'node:zlib';
import { env } from 'onnxruntime-web/wasm';
import { loadNetwork, type Network } from '../src/engine/network.ts';
import type { Pixels } from '../src/engine/resize.ts';

const ROOT = new URL('../../', import.meta.url);

/** Pixels as `tools/web_vectors.py` writes them. */
export interface Packed {
  width: number;
  height: number;
  rgb: string;
}

export function readVectors<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`tests/vectors/${name}.json`, ROOT), 'utf8'));
}

export function unpack({ width, height, rgb }: Packed): Pixels {
  const data = new Uint8Array(inflateSync(Buffer.from(rgb, 'base64')));
  return { data, width, height, channels: 3 };
}

/** A model of the Python package by its file's name without the suffix, in one thread. */
export function loadModel(name: string): Promise<Network> {
  env.wasm.numThreads = 1;
  return loadNetwork(readFileSync(new URL(`src/extd/weights/${name}.onnx`, ROOT)));
}
