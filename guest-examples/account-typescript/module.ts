// Hello world: a bank account, the same as guest-examples/account to the byte.

import { type Aggregate, emit, module, reject, text, u32 } from "factum-sdk";

type Account = { owner: string | null; balance: number };

const notOpen = () => reject("not_open", "open this account first");

const account: Aggregate<Account> = {
  name: "account",
  initial: () => ({ owner: null, balance: 0 }),

  commands: {
    open: (state, data) => {
      const owner = text(data, "owner");
      if (state.owner !== null) return reject("already_open", "this account is open already");
      return emit("Opened", { owner });
    },
    deposit: (state, data) => {
      const amount = u32(data, "amount");
      return state.owner === null ? notOpen() : emit("Deposited", { amount });
    },
    withdraw: (state, data) => {
      const amount = u32(data, "amount");
      if (state.owner === null) return notOpen();
      if (state.balance >= amount) return emit("Withdrawn", { amount });
      const { balance } = state;
      return reject("insufficient_funds", "the balance is too low", { balance });
    },
  },

  events: {
    Opened: (state, data) => { state.owner = data.owner as string; },
    Deposited: (state, data) => { state.balance += data.amount as number; },
    Withdrawn: (state, data) => { state.balance -= data.amount as number; },
  },
};

export const { manifest, aggregate } = module({
  name: "account",
  version: "1.0.0",
  aggregates: [account],
});
