/** Numbers in [0, 1) that look random and are the same in every run (xorshift32). */
export function* moments(seed: number): Generator<number, never> {
  for (let x = seed; ; ) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    yield (x >>> 0) / 0x1_0000_0000;
  }
}
