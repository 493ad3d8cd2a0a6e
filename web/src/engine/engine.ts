import type { DetectOptions, Face } from './types.ts';

export type Detectable = ImageBitmap | ImageData | VideoFrame;

export interface Detection {
  faces: Face[];
  /** How long the detection took, without the wait for those before it. */
  milliseconds: number;
}

/** What the worker is asked. */
export interface Request {
  id: number;
  image: Detectable;
  options: DetectOptions;
}

/** What it answers. */
export type Reply = { id: number } & ({ detection: Detection } | { error: string });

export interface Engine {
  /** Find faces, best first. The image is copied, and stays the caller's to close. */
  detect(image: Detectable, options: DetectOptions): Promise<Detection>;
  /** Stop the worker; detections under way reject. */
  close(): void;
}

/** Start the worker that detects; models are loaded when they are first needed. */
export async function createEngine(): Promise<Engine> {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  const waiting = new Map<number, PromiseWithResolvers<Detection>>();
  let last = 0;
  // A worker that failed or was closed never answers.
  let failure: Error | null = null;
  const fail = (message: string) => {
    failure ??= new Error(message);
    for (const { reject } of waiting.values()) reject(failure);
    waiting.clear();
  };
  worker.onmessage = ({ data }: MessageEvent<Reply>) => {
    const promise = waiting.get(data.id);
    waiting.delete(data.id);
    if ('error' in data) promise?.reject(new Error(data.error));
    else promise?.resolve(data.detection);
  };
  worker.onerror = (event) => fail(event.message || 'the detector did not start');
  return {
    detect(image, options) {
      if (failure) return Promise.reject(failure);
      const promise = Promise.withResolvers<Detection>();
      const request: Request = { id: ++last, image, options };
      waiting.set(request.id, promise);
      worker.postMessage(request);
      return promise.promise;
    },
    close() {
      worker.terminate();
      fail('the detector was closed');
    },
  };
}
