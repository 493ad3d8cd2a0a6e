/** Boxes as JSON Lines, as `extd detect --json` writes and `extd blur --faces` reads them. */

import { type Item, type Region, type Settings, shownRegions } from '../items.ts';

interface Row {
  box: number[];
  score: number;
}

/** One line an image; `faces` are those that are covered, `kept` those left open. */
export function boxesJson(items: Item[], settings: Settings): string {
  return items.map((item) => `${JSON.stringify(lineOf(item, settings))}\n`).join('');
}

function lineOf(item: Item, settings: Settings) {
  const regions = shownRegions(item, settings);
  return {
    path: item.name,
    width: item.width,
    height: item.height,
    faces: regions.filter((region) => !region.kept).map(rowOf),
    kept: regions.filter((region) => region.kept).map(rowOf),
  };
}

function rowOf({ box, score }: Region): Row {
  return { box: box.map((side) => round(side, 2)), score: round(score, 4) };
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
