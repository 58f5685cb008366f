//! redb 4.1.0, which can lose what it had committed when power goes in a commit and again during
//! the repair, on the simulated disk of the engine's own tests: they must find that.
//!
//! `redb-4-1 <first seed> <seeds>` prints the first seed with such a loss, the call and the crash.

use std::process::ExitCode;

use storage::log::power_loss::raw::{Wrong, crash_twice};

#[path = "../../../engine/src/storage"]
mod storage {
    pub(crate) mod disk {
        #[expect(dead_code, reason = "the engine's tests have more to ask of it")]
        pub(crate) mod simulated;
    }

    pub(crate) mod log {
        pub(crate) mod power_loss {
            pub(crate) mod raw;
        }
    }

    /// As the engine's own.
    fn unpanicked<T>(act: impl FnOnce() -> T) -> Option<T> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).ok()
    }
}

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let (first, seeds): (u64, u64) = numbers.next().zip(numbers.next()).expect("two numbers");
    for seed in first..first + seeds {
        for (call, wrong) in crash_twice(seed) {
            if matches!(wrong, Wrong::Lost { crashes: 2.. }) {
                println!("FACTUM_SEED={seed}: power went at call {call}, and {wrong}");
                return ExitCode::SUCCESS;
            }
        }
    }
    println!("nothing was lost");
    ExitCode::FAILURE
}
