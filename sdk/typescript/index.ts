// Write a Factum module in TypeScript: plain values and pure functions, nothing of the contract.
//
//     const door: Aggregate<{ open: boolean }> = {
//       name: "door",
//       initial: () => ({ open: false }),
//       commands: { open: (state) => state.open ? reject("open", "it is open") : emit("Opened") },
//       events: { Opened: (state) => { state.open = true; } },
//     };
//     export const { manifest, aggregate } =
//       module({ name: "doors", version: "1.0.0", aggregates: [door] });
//
// Whatever a module throws becomes a fault with its message, what it prints a line of its log. Time
// and randomness are those of the decision: `Date` and `Math.random` work inside a command, where
// they answer what is recorded with it, and throw anywhere else.

import { deciding, folding } from "./world.ts";

/** What may be thrown or returned to refuse a command. */
export class Rejection {
  constructor(readonly code: string, readonly message: string, readonly details?: object) {}
}

/** The command's data does not fit the command. */
export class Invalid {
  constructor(readonly message: string) {}
}

/** An event before it is recorded. */
export type NewEvent = { type: string; data: object; tags: string[]; schemaVersion: number };

/** Accepts a command: it has happened. */
export function emit(type: string, data: object = {}, tags: string[] = []): NewEvent[] {
  return [{ type, data, tags, schemaVersion: 1 }];
}

/** Refuses a command. The code is for programs, the message for people. */
export function reject(code: string, message: string, details?: object): Rejection {
  return new Rejection(code, message, details);
}

/** Everything a decision may know besides its state and its command. */
export type Context = {
  streamId: string;
  streamVersion: number;
  nowMs: number;
  correlationId: string;
  causationId: string;
  caller: string | null;
};

/** Checks a field of a command's data: a text. */
export function text(data: Data, field: string): string {
  const value = data[field];
  if (typeof value === "string") return value;
  throw new Invalid(`the field ${field} is not a text`);
}

/** Checks a field of a command's data: a whole number from 0 to 4294967295. */
export function u32(data: Data, field: string): number {
  const value = data[field];
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffffffff) {
    return value;
  }
  throw new Invalid(`the field ${field} is not a whole number from 0 to 4294967295`);
}

/** A command's or an event's data, as it came. */
export type Data = Record<string, unknown>;

/** A consistency boundary: a state, what may be asked, and what may happen. */
export type Aggregate<State> = {
  /** Its name, which is also the category of its streams. */
  name: string;
  /** Raised when the state changes its meaning or its JSON. */
  stateVersion?: number;
  /** The state before the first event. It is stored as JSON, keys in their order. */
  initial: () => State;
  /** Answers a command with the events that follow from it, or with a rejection. */
  commands: Record<string, (state: State, data: Data, context: Context) => NewEvent[] | Rejection>;
  /** Takes in what happened. */
  events: Record<string, (state: State, data: Data) => void>;
};

type Wire<T> = { tag: string; val: T };
type WireEvent = { eventType: string; data: string };
type WireContext = Context & { seed: number };

/** What a module exports: `export const { manifest, aggregate } = module({ … })`. */
export function module(parts: {
  name: string;
  version: string;
  aggregates: Aggregate<any>[];
}) {
  const find = (name: string) => {
    const found = parts.aggregates.find((known) => known.name === name);
    if (found) return found;
    throw new Error(`the module has no aggregate ${name}`);
  };
  return {
    manifest: { describe: () => JSON.stringify(described(parts)) },
    aggregate: {
      decide(
        name: string,
        current: Wire<string> | null,
        tail: WireEvent[],
        command: { name: string; data: string },
        context: WireContext,
      ) {
        return deciding(context.nowMs, context.seed, failure, () => {
          const of = find(name);
          const state = folded(of, current, tail);
          const decide = Object.hasOwn(of.commands, command.name) && of.commands[command.name];
          if (!decide) {
            const known = Object.keys(of.commands).join(", ");
            throw { tag: "unknown", val: `\`${name}\` has no command \`${command.name}\`; it has: ${known}` };
          }
          const answer = decide(state, JSON.parse(command.data || "{}") ?? {}, context);
          if (answer instanceof Rejection) throw answer;
          answer.forEach((event) => apply(of, state, event.type, JSON.parse(JSON.stringify(event.data))));
          const events = answer.map(({ type, data, tags, schemaVersion }) => ({
            eventType: type, schemaVersion, data: JSON.stringify(data), tags,
          }));
          return { events, next: json(state) };
        });
      },
      evolve(name: string, current: Wire<string> | null, events: WireEvent[]) {
        return deciding(null, null, message, () => json(folded(find(name), current, events)));
      },
      inspect(_name: string, current: Wire<string>) {
        return current.val;
      },
      boundary(name: string, command: { name: string }) {
        throw { tag: "unknown", val: `\`${name}\` has no boundary for \`${command.name}\`` };
      },
    },
  };
}

function described(parts: { name: string; version: string; aggregates: Aggregate<any>[] }) {
  return {
    name: parts.name,
    version: parts.version,
    contract: "0.1.0",
    sdk: "factum-sdk-typescript 0.1.0",
    aggregates: parts.aggregates.map((of) => ({
      name: of.name,
      state_version: of.stateVersion ?? 1,
      commands: Object.keys(of.commands).map((name) => ({ name })),
      events: Object.keys(of.events).map((type) => ({ type, schema_version: 1 })),
    })),
  };
}

function folded<S>(of: Aggregate<S>, current: Wire<string> | null, events: WireEvent[]): S {
  const state = current ? JSON.parse(current.val) : of.initial();
  events.forEach((event) => apply(of, state, event.eventType, JSON.parse(event.data)));
  return state;
}

function apply<S>(of: Aggregate<S>, state: S, type: string, data: Data) {
  if (!Object.hasOwn(of.events, type)) throw new Error(`the event \`${type}\` is not known`);
  folding(() => of.events[type](state, data));
}

function json(state: unknown): Wire<string> {
  return { tag: "json", val: JSON.stringify(state) };
}

/** What was thrown, as the contract says it. */
function failure(thrown: any): unknown {
  if (thrown instanceof Rejection) {
    const { code, message, details } = thrown;
    const val = { code, message, details: details ? JSON.stringify(details) : null };
    return { tag: "rejected", val };
  }
  if (thrown instanceof Invalid) return { tag: "invalid", val: thrown.message };
  if (thrown?.tag === "unknown") return thrown;
  return { tag: "fault", val: message(thrown) };
}

function message(thrown: any): string {
  return thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
}
