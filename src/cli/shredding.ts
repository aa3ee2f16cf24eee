import { flagOf, partOf, textsOf } from './reply.ts';

/** Whoever holds one opens what it opens, whatever this token has destroyed. */
const TOKEN_COPIES =
  'Backups of the token from before ("backup create --with-token", a clone) still hold what opens it: destroy those too.';

/** What has to follow on a shredding before it is complete: see Shredding in src/store/versions.ts. */
export function describeWhatIsLeft(shredding: unknown): string {
  if (partOf(shredding, 'keys') === null)
    return `Which KEKs open copies of it in backups was not noted: those that there were when it was shredded. ${TOKEN_COPIES}`;
  const left = partOf(shredding, 'left') === null ? textsOf(shredding, 'keys') : textsOf(shredding, 'left');
  if (left.length === 0) return `Nothing that this token holds opens a copy of it. ${TOKEN_COPIES}`;
  const some = left.length === 1 ? 'this key exists' : 'one of these keys exists';
  return `Copies in backups from before, put back here or elsewhere, can be opened as long as ${some}: ${left.join(', ')}. It is complete once ${left.length === 1 ? 'it is' : 'all are'} destroyed: "sallyport hsm rotate", then "sallyport hsm retire" for each KEK; "sallyport credential versions" says how far that is. ${TOKEN_COPIES}`;
}

/** In a few words, for a table. */
export function completeness(shredding: unknown): string {
  if (flagOf(shredding, 'complete')) return 'yes';
  const left = partOf(shredding, 'left') ?? partOf(shredding, 'keys');
  if (!Array.isArray(left)) return 'not known: its KEKs were not noted';
  const named = left.map(String);
  const what = named.length > 4 ? `${named[0]} … ${named.at(-1)}, ${named.length} in all` : named.join(' ');
  return partOf(shredding, 'left') === null ? `not known: once gone are ${what}` : `no: destroy ${what}`;
}

/** What became of the keys in the HSM that were the values; empty where there were none. */
export function describeHsmKeys(labels: readonly string[], shredding: unknown): string {
  if (labels.length === 0) return '';
  const left = partOf(shredding, 'left');
  const kept = Array.isArray(left) ? labels.filter((label) => left.includes(label)) : [];
  const gone = labels.filter((label) => !kept.includes(label));
  return [
    ...gone.map((label) => ` Its key ${label} in the HSM is destroyed.`),
    ...kept.map((label) => ` Its key ${label} in the HSM stays: another version has it too.`),
  ].join('');
}
