import type { SallyportError } from '../../errors.ts';

/** What has become of a keyholder and its HSM. */
export interface HsmAlarm {
  /** The code of an error, `keyholder_ended`, or `ok`. */
  readonly state: string;
  /** The keyholder's name. */
  readonly keyholder: string;
  /** One line. */
  readonly what: string;
}

/**
 * Tells of each loss of the HSM and of its end: once for a place in which keyholders run, however often one is tried or
 * started there meanwhile.
 */
export class HsmAlarms {
  readonly #tell: (alarm: HsmAlarm) => void;
  /** By place: what was told since the HSM was last well there, and when that began. */
  readonly #told = new Map<string, { readonly states: Set<string>; readonly since: number }>();
  /** Not told before `open`. */
  #held: HsmAlarm[] | undefined = [];
  #ending = false;

  constructor(tell: (alarm: HsmAlarm) => void) {
    this.#tell = tell;
  }

  /** From here on nobody else says what is wrong: a start that fails says it itself, and writes nothing. */
  open(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const alarm of held) this.#tell(alarm);
  }

  /** Keyholders end because they are to. */
  end(): void {
    this.#ending = true;
  }

  /** The keyholder `name` cannot use its HSM. */
  lost(name: string, { code, message }: SallyportError): void {
    this.#once({ state: code, keyholder: name, what: `${name} cannot use its HSM: ${message}` });
  }

  /** Its process is gone. */
  ended(name: string): void {
    this.#once({
      state: 'keyholder_ended',
      keyholder: name,
      what: `${name} ended, and another is started in its place`,
    });
  }

  /** It can use its HSM. */
  well(name: string): void {
    const told = this.#told.get(placeOf(name));
    if (!told) return;
    this.#told.delete(placeOf(name));
    const seconds = Math.round((Date.now() - told.since) / 1_000);
    this.#say({ state: 'ok', keyholder: name, what: `${name} can use its HSM again, after ${seconds} s` });
  }

  #once(alarm: HsmAlarm): void {
    const place = placeOf(alarm.keyholder);
    const told = this.#told.get(place) ?? { states: new Set(), since: Date.now() };
    if (this.#ending || told.states.has(alarm.state)) return;
    told.states.add(alarm.state);
    this.#told.set(place, told);
    this.#say(alarm);
  }

  #say(alarm: HsmAlarm): void {
    if (this.#held) this.#held.push(alarm);
    else this.#tell(alarm);
  }
}

/** "keyholder-1-3" is the third that runs in the place "keyholder-1". */
function placeOf(name: string): string {
  return name.replace(/-\d+$/, '');
}
