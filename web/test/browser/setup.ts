import { rmSync } from 'node:fs';
import { INPUTS, python } from './python.ts';

/** Makes the files that the tests open; what it returns removes them. */
export default function setup(): () => void {
  python(['test/browser/make_inputs.py', INPUTS]);
  return () => rmSync(INPUTS, { recursive: true, force: true });
}
