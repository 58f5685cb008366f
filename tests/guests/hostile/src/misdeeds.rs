//! What the aggregate does wrong, by the name of the command.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use factum_sdk::bindings::aggregate::{Outcome, State};
use factum_sdk::bindings::read_models;
use factum_sdk::log;

const HUGE: usize = 100 << 20;
const FLOOD: usize = 1_000_000;
const LINES: usize = 100_000;
const PAGE: usize = 64 << 10;

/// How deep its JSON goes.
const DEEP: usize = 100_000;
/// Calls before its drift shows.
const GOOD_CALLS: u64 = 3;
/// What it leaks a call.
const LEAK: usize = 1 << 20;

/// Survives from call to call, which nothing in a guest should.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Spoils an honest answer, or gives none. A command that names no misdeed is answered honestly.
pub(crate) fn commit(misdeed: &str, honest: Outcome) -> Outcome {
    match misdeed {
        "spin" => spin(),
        "trap" => trap(),
        "panic" => panic!("the guest was told to panic"),
        "recurse" => {
            black_box(recurse(0));
            honest
        }
        "eat_memory" => eat_memory(),
        "huge_answer" => with_data(honest, huge()),
        "flood_events" => flood(honest, FLOOD),
        "flood_few" => flood(honest, 6),
        "invalid_json" => with_data(honest, "{not json".to_owned()),
        "wrong_next" => Outcome { next: State::Json("{\"behaved\":999}".to_owned()), ..honest },
        "log_flood" => {
            (0..LINES).for_each(|line| log::info!("line {line} of a flood"));
            honest
        }
        "empty_event_type" => with_type(honest, ""),
        "hidden_state" => {
            let calls = CALLS.fetch_add(1, Ordering::Relaxed);
            with_data(honest, format!("{{\"poison\":\"call {calls}\"}}"))
        }
        "drift" if CALLS.fetch_add(1, Ordering::Relaxed) >= GOOD_CALLS => {
            Outcome { next: State::Json("{\"behaved\":999}".to_owned()), ..honest }
        }
        "leak" => {
            std::mem::forget(black_box(vec![1_u8; LEAK]));
            honest
        }
        "big_events" => with_data(honest, format!("\"{}\"", "x".repeat(2 << 20))),
        "deep_json" => with_data(honest, "[".repeat(DEEP) + &"]".repeat(DEEP)),
        "not_a_number" => with_data(honest, "{\"poison\":NaN}".to_owned()),
        "peek" => {
            let found = read_models::get_many("hostile_rows", &["1".to_owned()]);
            with_data(honest, format!("{{\"poison\":\"{} rows\"}}", found.len()))
        }
        _ => honest,
    }
}

pub(crate) fn spin() -> ! {
    loop {
        black_box(());
    }
}

/// Stops without a word, unlike a panic.
pub(crate) fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

#[expect(unconditional_recursion, reason = "this is the misdeed")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1))) + 1
}

/// Takes memory until there is no more, then traps.
fn eat_memory() -> ! {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut bite = Vec::new();
        if eaten.try_reserve(1).is_err() || bite.try_reserve_exact(16 * PAGE).is_err() {
            black_box(&eaten);
            trap();
        }
        eaten.push(black_box(bite));
    }
}

fn flood(honest: Outcome, count: usize) -> Outcome {
    let events = honest.events.iter().cycle().take(count).cloned().collect();
    Outcome { events, ..honest }
}

/// Moves the data in: a copy of something huge might not fit into the guest's memory.
fn with_data(mut honest: Outcome, data: String) -> Outcome {
    if let Some(event) = honest.events.first_mut() {
        event.data = data;
    }
    honest
}

fn with_type(mut honest: Outcome, event_type: &str) -> Outcome {
    for event in &mut honest.events {
        event_type.clone_into(&mut event.event_type);
    }
    honest
}

/// A JSON string as long as no event's data should be.
fn huge() -> String {
    let mut data = String::with_capacity(HUGE);
    data.push('"');
    data.extend(std::iter::repeat_n('x', HUGE - 2));
    data.push('"');
    data
}
