//! Hello world: a bank account, written as two pure functions.
//!
//! With the feature `overdraft` it is version 1.1.0, which lets an account go down to -100: the
//! second version for a swap while the engine runs.

use factum_sdk::prelude::*;

/// How far below zero a balance may go.
const CREDIT: i64 = if cfg!(feature = "overdraft") { 100 } else { 0 };

use AccountCommand::{Deposit, Open, Withdraw};
use AccountEvent::{Deposited, Opened, Withdrawn};

#[rustfmt::skip] #[derive(Default, Serialize, Deserialize)]
struct Account { owner: Option<String>, balance: i64 }

#[rustfmt::skip] #[derive(Command, Deserialize)]
enum AccountCommand { Open { owner: String }, Deposit { amount: u32 }, Withdraw { amount: u32 } }

#[rustfmt::skip] #[derive(Event, Serialize, Deserialize)]
enum AccountEvent { Opened { owner: String }, Deposited { amount: u32 }, Withdrawn { amount: u32 } }

impl Aggregate for Account {
    const NAME: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;

    fn decide(&self, command: AccountCommand, _context: &Context) -> Decision<AccountEvent> {
        let available = self.balance + CREDIT;
        match command {
            Open { owner } if self.owner.is_none() => emit(Opened { owner }),
            Open { .. } => reject("already_open", "this account is open already"),
            _ if self.owner.is_none() => reject("not_open", "open this account first"),
            Deposit { amount } => emit(Deposited { amount }),
            Withdraw { amount } if available >= amount.into() => emit(Withdrawn { amount }),
            Withdraw { .. } => Err(insufficient_funds(self.balance)),
        }
    }

    fn evolve(&mut self, event: AccountEvent) {
        match event {
            Opened { owner } => self.owner = Some(owner),
            Deposited { amount } => self.balance += i64::from(amount),
            Withdrawn { amount } => self.balance -= i64::from(amount),
        }
    }
}

factum_sdk::module! {
    name: "account",
    version: if cfg!(feature = "overdraft") { "1.1.0" } else { "1.0.0" },
    aggregates: [Account],
}

fn insufficient_funds(balance: i64) -> Rejection {
    Rejection::new("insufficient_funds", "the balance is too low").with("balance", balance)
}

#[cfg(test)]
mod tests {
    use factum_sdk::testing::{Given, given};
    use serde_json::json;

    use super::*;

    fn opened() -> AccountEvent {
        Opened { owner: "Ann".to_owned() }
    }

    fn open() -> AccountCommand {
        Open { owner: "Ann".to_owned() }
    }

    fn account_with(amount: u32) -> Given<Account> {
        given([opened(), Deposited { amount }])
    }

    #[test]
    fn an_account_is_opened_once() {
        given::<Account>([]).when(open()).then(opened());
        given::<Account>([opened()]).when(open()).then_rejected("already_open");
    }

    #[test]
    fn nothing_happens_to_an_account_that_is_not_open() {
        given::<Account>([]).when(Deposit { amount: 1 }).then_rejected("not_open");
        given::<Account>([]).when(Withdraw { amount: 1 }).then_rejected("not_open");
    }

    #[test]
    fn deposits_and_withdrawals_move_the_balance() {
        account_with(30)
            .when(Deposit { amount: 12 })
            .then(Deposited { amount: 12 })
            .then_state(|account| assert_eq!(account.balance, 42));
        account_with(30)
            .when(Withdraw { amount: 30 })
            .then(Withdrawn { amount: 30 })
            .then_state(|account| assert_eq!(account.balance, 0));
    }

    #[test]
    fn a_withdrawal_needs_funds() {
        let beyond = u32::try_from(31 + CREDIT).unwrap_or(u32::MAX);
        account_with(30)
            .when(Withdraw { amount: beyond })
            .then_rejected("insufficient_funds")
            .then_details(json!({ "balance": 30 }));
        account_with(30)
            .when(Withdraw { amount: beyond - 1 })
            .then(Withdrawn { amount: beyond - 1 });
    }
}
