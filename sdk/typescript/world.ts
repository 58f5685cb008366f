// The world that a module sees: the time and the randomness of its decision, and its log.

import log from "factum:domain/log@0.1.0";

let nowMs: number | null = null;
let random: (() => number) | null = null;

/** Runs a call of the engine. What it throws leaves as `explain` says it. */
export function deciding<T>(
  now: number | null,
  seed: number | null,
  explain: (thrown: unknown) => unknown,
  call: () => T,
): T {
  nowMs = now;
  random = seed === null ? null : generator(seed);
  try {
    return call();
  } catch (thrown) {
    throw explain(thrown);
  } finally {
    nowMs = random = null;
  }
}

/** Folds an event, which must come to the same at any time. */
export function folding(call: () => void) {
  const kept = { nowMs, random };
  nowMs = random = null;
  try {
    call();
  } finally {
    ({ nowMs, random } = kept);
  }
}

function given<T>(value: T | null, what: string): T {
  if (value !== null) return value;
  throw new Error(`${what} is known only while a command is decided; put it into the event`);
}

/** The same numbers for the same seed (mulberry32). Not for secrets. */
function generator(seed: number): () => number {
  let state = (seed ^ (seed / 0x100000000)) | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x100000000;
  };
}

const Calendar = Date;

class DecisionDate extends Calendar {
  constructor(...parts: any[]) {
    // @ts-ignore: as many as there are
    super(...(parts.length ? parts : [DecisionDate.now()]));
  }

  static now(): number {
    return given(nowMs, "the time");
  }
}

globalThis.Date = DecisionDate as DateConstructor;
Math.random = () => given(random, "randomness")();

const say = (level: string) => (...parts: unknown[]) => log.log(level, parts.map(shown).join(" "));

function shown(part: unknown): string {
  if (typeof part === "string") return part;
  if (part instanceof Error) return `${part.name}: ${part.message}`;
  return JSON.stringify(part) ?? String(part);
}

globalThis.console = {
  debug: say("debug"),
  trace: say("debug"),
  log: say("info"),
  info: say("info"),
  warn: say("warn"),
  error: say("error"),
} as Console;
