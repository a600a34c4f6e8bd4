// Two stories in step: which position of the one belongs to which of the other. They are aligned by
// what is done (isolation, phase, or operation with its thing), never by numbers: the longest common
// subsequence of their steps. What only one of them does is a step in which the other one waits.

const CELLS_MOST = 4e6; // of the table of lengths; longer stories are aligned at their ends alone

/** [position in the first, position in the second] after each step, from [0, 0] to both ends. */
function pairsOf(first, second, zoom) {
  const [one, two] = [stopsWithKeys(first, zoom), stopsWithKeys(second, zoom)];
  const found = [[0, 0]];
  for (const [a, b] of aligned(one.map(({ key }) => key), two.map(({ key }) => key))) {
    const [x, y] = found.at(-1);
    found.push([a === null ? x : one[a].stop, b === null ? y : two[b].stop]);
  }
  return found;
}

/** The stops of a zoom, and the one where the command has begun, each with what was done up to it. */
function stopsWithKeys(story, zoom) {
  const complete = story.complete();
  const stops = [...new Set([...story.stops(zoom), complete])].sort((a, b) => a - b).filter((stop) => stop > 0);
  return stops.map((stop) => ({ stop, key: keyOf(story, story.steps[stop - 1], zoom) + (stop === complete ? " complete" : "") }));
}

function keyOf(story, step, zoom) {
  if (zoom === "isolations") return step.rows.join();
  if (zoom === "phases") return story.phases[step.phase].slice(0, 2).join();
  const [kind, name] = step.changes.length ? story.things[step.changes[0][0]] : [];
  return `${step.actor} ${step.op} ${kind} ${name}`;
}

/** [index or null, index or null]: each key of both lists once, in order; equal ones together. */
function aligned(one, two) {
  let start = 0, end = 0;
  while (start < one.length && start < two.length && one[start] === two[start]) start++;
  const rest = Math.min(one.length, two.length) - start;
  while (end < rest && one.at(-1 - end) === two.at(-1 - end)) end++;
  const middle = [one.slice(start, one.length - end), two.slice(start, two.length - end)];
  return [
    ...Array.from({ length: start }, (_, at) => [at, at]),
    ...common(...middle).map(([a, b]) => [a === null ? null : a + start, b === null ? null : b + start]),
    ...Array.from({ length: end }, (_, at) => [one.length - end + at, two.length - end + at]),
  ];
}

function common(one, two) {
  const width = two.length + 1, isSmall = (one.length + 1) * width <= CELLS_MOST;
  const lengths = new Uint32Array(isSmall ? (one.length + 1) * width : 0); // of the common subsequence from here
  for (let a = one.length - 1; isSmall && a >= 0; a--) {
    for (let b = two.length - 1; b >= 0; b--) {
      const at = a * width + b;
      lengths[at] = one[a] === two[b] ? lengths[at + width + 1] + 1 : Math.max(lengths[at + width], lengths[at + 1]);
    }
  }
  const found = [];
  for (let a = 0, b = 0; a < one.length || b < two.length;) {
    const at = a * width + b;
    if (isSmall && a < one.length && b < two.length && one[a] === two[b]) found.push([a++, b++]);
    else if (a < one.length && (b === two.length || !isSmall || lengths[at + width] >= lengths[at + 1])) found.push([a++, null]);
    else found.push([null, b++]);
  }
  return found;
}
