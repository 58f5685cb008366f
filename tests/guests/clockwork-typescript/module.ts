// What a module sees of the world, for the tests of the SDK. Outside of tests it has no use.

import { type Aggregate, emit, module } from "factum-sdk";

type Clockwork = { seen: number };

const clockwork: Aggregate<Clockwork> = {
  name: "clockwork",
  initial: () => ({ seen: 0 }),
  commands: {
    look: (_state, _data, context) => {
      const now_ms = Date.now();
      const random = [Math.random(), Math.random()].map(String);
      console.log("seen at", new Date().toISOString(), { random });
      return emit("Looked", { now_ms, context_ms: context.nowMs, random });
    },
    fail: () => { throw new RangeError("out of order"); },
    recall: () => emit("Recalled"),
  },
  events: {
    Looked: (state) => { state.seen += 1; },
    Recalled: (state) => { state.seen = Date.now(); },
  },
};

export const { manifest, aggregate } = module({
  name: "clockwork",
  version: "1.0.0",
  aggregates: [clockwork],
});
