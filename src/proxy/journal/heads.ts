import type { Head } from '../../audit/chain.ts';
import type { JournalWriter } from '../../audit/journal.ts';

const HEAD_INTERVAL_MS = 100;

/** A journal's newest link, as the vault records it. */
export type JournalHead = Head & { readonly file: string };

/**
 * Reports the journal's head to the vault: at once (so that the vault knows of the file before anything is in it),
 * then every 100 ms while it changes. What has been reported cannot be rewritten or cut unnoticed. Returns the stop,
 * which reports a last time.
 */
export function startHeads(writer: JournalWriter, send: (head: JournalHead) => void): () => void {
  let reported = -1;
  const report = (): void => {
    const { link, hash } = writer.head;
    if (link === reported) return;
    reported = link;
    send({ file: writer.fileName, link, hash });
  };
  report();
  const timer = setInterval(report, HEAD_INTERVAL_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    report();
  };
}
