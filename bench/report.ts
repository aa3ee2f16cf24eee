import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { dirname } from 'node:path';
import { type Figures, median } from './measure.ts';
import { CORES } from './processes.ts';

/** One peer's line. */
export interface Row {
  readonly name: string;
  readonly version: string;
  readonly figures: Figures;
  readonly rounds: readonly Figures[];
}

/** Figures over those of nginx in the same round, the median of the rounds; null where either is missing. */
export interface Ratios {
  readonly requestsPerSecond: number | null;
  readonly cpuPerRequest: number | null;
  readonly cpuPerTunnel: number | null;
}

export function ratios(row: Row, nginx: Row | undefined): Ratios {
  const over = (figure: keyof Figures): number | null =>
    median(
      row.rounds.map((round, index) => {
        const [mine, theirs] = [round[figure], nginx?.rounds[index]?.[figure]];
        return mine === null || !theirs ? null : mine / theirs;
      }),
    );
  return {
    requestsPerSecond: over('requestsPerSecond'),
    cpuPerRequest: over('cpuPerRequest'),
    cpuPerTunnel: over('cpuPerTunnel'),
  };
}

/** What the figures were taken on, without anything that names the machine. */
export function machine(): Record<string, string | number | boolean> {
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    pinned: CORES !== undefined,
    node: process.version,
    openssl: process.versions.openssl,
  };
}

const COLUMNS: readonly [string, (row: Row, nginx: Row | undefined) => string][] = [
  ['', (row) => `${row.name} ${row.version}`.trim()],
  ['added p50 µs', ({ figures }) => round(figures.addedP50)],
  ['added p99 µs', ({ figures }) => round(figures.addedP99)],
  ['requests/s', ({ figures }) => round(figures.requestsPerSecond)],
  ['CPU µs/request', ({ figures }) => round(figures.cpuPerRequest, 1)],
  ['of nginx', (row, nginx) => times(ratios(row, nginx).cpuPerRequest)],
  ['CPU µs/new tunnel', ({ figures }) => round(figures.cpuPerTunnel)],
  ['of nginx', (row, nginx) => times(ratios(row, nginx).cpuPerTunnel)],
  ['CPU µs/resumed', ({ figures }) => round(figures.cpuPerResumedTunnel)],
  ['taken', ({ figures }) => percent(figures.resumedShare)],
];

/** The figures as a table of text. */
export function table(rows: readonly Row[]): string {
  const nginx = rows.find(({ name }) => name === 'nginx');
  const cells = [
    COLUMNS.map(([title]) => title),
    ...rows.map((row) => COLUMNS.map(([, cell]) => cell(row, nginx))),
  ];
  const widths = COLUMNS.map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0)));
  return cells
    .map((line) =>
      line
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  '),
    )
    .join('\n');
}

function round(value: number | null, digits = 0): string {
  return value === null ? '-' : value.toFixed(digits);
}

function percent(value: number | null): string {
  return value === null ? '-' : `${Math.round(100 * value)} %`;
}

function times(value: number | null): string {
  return value === null ? '-' : `${value.toFixed(2)}×`;
}

/** Writes what a benchmark found, as JSON. */
export function save(output: string, result: object): void {
  mkdirSync(dirname(output), { recursive: true });
  writeFileSync(output, `${JSON.stringify(result, null, 2)}\n`);
}
