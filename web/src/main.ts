import { createEngine } from './engine/engine.ts';

await createEngine();
