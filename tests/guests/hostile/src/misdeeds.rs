//! What the aggregate does wrong, by the name of the command.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use factum_sdk::bindings::aggregate::{Failure, Outcome, State};
use factum_sdk::bindings::{read_models, types};
use factum_sdk::log;

const HUGE: usize = 100 << 20;
const FLOOD: usize = 1_000_000;
const LINES: usize = 10_000;
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
pub(crate) fn commit(misdeed: &str, honest: Outcome) -> Result<Outcome, Failure> {
    match refusal(misdeed) {
        Some(failure) => Err(failure),
        None if misdeed.ends_with("state") => Ok(with_state(misdeed, honest)),
        None => Ok(answer(misdeed, honest)),
    }
}

fn answer(misdeed: &str, honest: Outcome) -> Outcome {
    match misdeed {
        "spin" => spin(),
        "trap" => trap(),
        "panic" => panic!("the guest was told to panic"),
        "recurse" => {
            black_box(recurse(0));
            honest
        }
        "eat_memory" => eat_memory(),
        "grow_at_once" => {
            black_box(vec![0_u8; 1 << 30]);
            honest
        }
        "wild_read" => {
            wild_read();
            honest
        }
        "wild_call" => {
            wild_call();
            honest
        }
        "huge_answer" => with_data(honest, huge()),
        "flood_events" => flood(honest, FLOOD),
        "flood_few" => flood(honest, 6),
        "invalid_json" => with_data(honest, "{not json".to_owned()),
        "bad_text" => with_data(honest, bad_text()),
        "big_events" => with_data(honest, format!("\"{}\"", "x".repeat(2 << 20))),
        "deep_json" => with_data(honest, "[".repeat(DEEP) + &"]".repeat(DEEP)),
        "not_a_number" => with_data(honest, "{\"poison\":NaN}".to_owned()),
        "wrong_next" => Outcome { next: State::Json("{\"behaved\":999}".to_owned()), ..honest },
        "log_flood" => {
            (0..LINES).for_each(|line| log::info!("line {line} of a flood"));
            honest
        }
        "huge_line" => {
            log::error!("{}", "\n\u{1b}[31mforged ".repeat(500_000));
            honest
        }
        "empty_event_type" => with_type(honest, ""),
        "huge_type" => with_type(honest, &"t".repeat(100_000)),
        "many_tags" => {
            with_tags(honest, &(0..10_000).map(|n| format!("tag:{n}")).collect::<Vec<_>>())
        }
        "bad_tag" => with_tags(honest, &["line\nbreak".to_owned()]),
        "drift" if CALLS.fetch_add(1, Ordering::Relaxed) >= GOOD_CALLS => {
            Outcome { next: State::Json("{\"behaved\":999}".to_owned()), ..honest }
        }
        "leak" => {
            std::mem::forget(black_box(vec![1_u8; LEAK]));
            honest
        }
        "peek" => {
            let found = read_models::get_many("hostile_rows", &["1".to_owned()]);
            with_data(honest, format!("{{\"poison\":\"{} rows\"}}", found.len()))
        }
        "scan" => {
            let found = read_models::scan("hostile_rows", "", None, u32::MAX);
            with_data(honest, format!("{{\"poison\":\"{} rows\"}}", found.len()))
        }
        _ => honest,
    }
}

/// Makes an answer that says so no JSON.
pub(crate) fn spoil(answer: &str) -> String {
    if answer.contains("no_json") { "{no json".to_owned() } else { answer.to_owned() }
}

fn with_state(misdeed: &str, honest: Outcome) -> Outcome {
    let next = match misdeed {
        "hidden_state" => {
            let calls = CALLS.fetch_add(1, Ordering::Relaxed);
            return with_data(honest, format!("{{\"poison\":\"call {calls}\"}}"));
        }
        "shifting_state" => {
            let calls = CALLS.fetch_add(1, Ordering::Relaxed);
            State::Json(format!("{{\"behaved\":1,\"calls\":{calls}}}"))
        }
        "huge_state" => State::Bytes(vec![7; HUGE / 2]),
        "deep_state" => State::Json("[".repeat(DEEP)),
        _ => return honest,
    };
    Outcome { next, ..honest }
}

/// What is no answer but a failure, and wrong as such.
fn refusal(misdeed: &str) -> Option<Failure> {
    let rejection = |message: String, details: Option<&str>| {
        let (code, details) = ("no".to_owned(), details.map(ToOwned::to_owned));
        Failure::Rejected(types::Rejection { code, message, details })
    };
    Some(match misdeed {
        "huge_rejection" => rejection("x".repeat(HUGE / 4), None),
        "big_rejection" => rejection("x".repeat(2 << 20), None),
        "bad_rejection" => rejection("no".to_owned(), Some("{not json")),
        "long_fault" => Failure::Fault("x".repeat(1 << 20)),
        "long_invalid" => Failure::Invalid("x".repeat(1 << 20)),
        _ => return None,
    })
}

/// What folding an event does, if its poison is for that.
pub(crate) fn fold(poison: &str) -> Option<State> {
    match poison {
        "fold_spin" => spin(),
        "fold_trap" => trap(),
        "fold_shift" => {
            let calls = CALLS.fetch_add(1, Ordering::Relaxed);
            Some(State::Json(format!("{{\"behaved\":{calls}}}")))
        }
        "fold_huge" => Some(State::Bytes(vec![7; HUGE / 4])),
        _ => None,
    }
}

/// What is shown of some states.
pub(crate) fn show(state: &str) -> Option<String> {
    match state {
        "{\"behaved\":11}" => Some("{not json".to_owned()),
        "{\"behaved\":12}" => spin(),
        "{\"behaved\":13}" => trap(),
        _ => None,
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

/// Beyond the end of any memory that this guest may have.
fn wild_read() {
    let nowhere = std::ptr::without_provenance::<u8>(0xffff_0000);
    #[expect(unsafe_code, reason = "this is the misdeed")]
    // SAFETY: there is none; the engine must catch it.
    black_box(unsafe { nowhere.read_volatile() });
}

/// A function that is not there.
fn wild_call() {
    let nowhere = std::ptr::without_provenance::<()>(0x00ff_ffff);
    #[expect(unsafe_code, reason = "this is the misdeed")]
    // SAFETY: there is none; the engine must catch it.
    let call = unsafe { std::mem::transmute::<*const (), extern "C" fn()>(nowhere) };
    black_box(call)();
}

/// A text that is not UTF-8.
fn bad_text() -> String {
    #[expect(unsafe_code, reason = "this is the misdeed")]
    // SAFETY: there is none; the engine must catch it.
    unsafe {
        String::from_utf8_unchecked(vec![b'"', 0xff, 0xfe, b'"'])
    }
}

fn with_tags(mut honest: Outcome, tags: &[String]) -> Outcome {
    for event in &mut honest.events {
        event.tags = tags.to_vec();
    }
    honest
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
