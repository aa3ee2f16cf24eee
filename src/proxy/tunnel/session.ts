/** What a tunnel and its agent speak: HTTP/1.1 or HTTP/2. */
export interface Session {
  /** Asked twice a second; `now` as of performance.now(). */
  checkDeadlines(now: number): void;
  /** A head that began did not come to its end in time. */
  headTimedOut(): void;
  /** A new policy is in force; `gone`: the agent has no right to be here. True where the connection is to be cut. */
  recheck(gone: boolean): boolean;
  /** Finish what is being carried, and no more. */
  drain(): void;
  /** The agent ended its side. */
  ended(): void;
  /** Ends our side, reading on. */
  close(): void;
  /** The connection is gone. */
  gone(): void;
}
