/** Names of saved files, which are those of the sources. */

/** The name with another ending: `photo.heic` and `jpg` give `photo.jpg`. */
export function withEnding(name: string, ending: string): string {
  const stem = name.replace(/\.[^./\\]{1,5}$/, '');
  return `${stem || name}.${ending}`;
}

/** The names, numbered where one came before, whatever its case: `a.jpg`, `a (2).jpg`. */
export function unique(names: string[]): string[] {
  const taken = new Set<string>();
  return names.map((name) => {
    const dot = name.lastIndexOf('.');
    const [stem, ending] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ''];
    let free = name;
    for (let count = 2; taken.has(free.toLowerCase()); count++) {
      free = `${stem} (${count})${ending}`;
    }
    taken.add(free.toLowerCase());
    return free;
  });
}
