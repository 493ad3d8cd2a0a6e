import { execFileSync } from 'node:child_process';

export const INPUTS = process.env.EXTD_INPUTS!;
export const EXAMPLES = '../examples';
const PYTHON = process.env.PYTHON ?? '../.venv/bin/python';

/** Run Python and return what it prints. */
export function python(args: string[]): string {
  return execFileSync(PYTHON, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

export interface Line {
  path: string;
  width: number;
  height: number;
  faces: { box: number[]; score: number }[];
}

/** What `extd detect` finds in a file, one line an image or frame. */
export function detect(path: string, ...options: string[]): Line[] {
  const output = python(['-m', 'extd', 'detect', path, '--json', '-', ...options]);
  return output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}
