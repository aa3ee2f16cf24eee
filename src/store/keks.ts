/** Labels of KEKs: their numbers count up from 1, see src/keyholder/keks.ts. */
const LABEL = /^(.*-)([1-9]\d{0,8})$/;

/** The labels from `first` (null: not known, so from the first that there was) to `last`. */
export function keksBetween(first: string | null, last: string): string[] {
  const [, prefix, end] = LABEL.exec(last) ?? [];
  if (prefix === undefined || end === undefined) return [last];
  const [, , start = '1'] = LABEL.exec(first ?? '') ?? [];
  const labels: string[] = [];
  for (let number = Number(start); number <= Number(end); number++) labels.push(`${prefix}${number}`);
  return labels;
}

/** The one with the higher number. */
export function laterKek(a: string, b: string): string {
  return numberOf(b) > numberOf(a) ? b : a;
}

function numberOf(label: string): number {
  return Number(LABEL.exec(label)?.[2] ?? 0);
}
