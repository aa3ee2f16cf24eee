const RUNS = 21;
const BUDGET_MS = 1_000;

/** The median duration of `run` in microseconds: of 21 runs, or of as many as a second takes where it is slow. */
export function medianMicroseconds(run: () => void): number {
  const durations: number[] = [];
  const until = performance.now() + BUDGET_MS;
  do {
    const started = performance.now();
    run();
    durations.push(performance.now() - started);
  } while (durations.length < RUNS && performance.now() < until);
  durations.sort((a, b) => a - b);
  return Math.round((durations[durations.length >> 1] ?? 0) * 1000);
}
