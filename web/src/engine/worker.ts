import type { Reply, Request } from './engine.ts';

self.onmessage = ({ data }: MessageEvent<Request>) => {
  self.postMessage({ id: data.id, detection: { faces: [], milliseconds: 0 } } satisfies Reply);
};
