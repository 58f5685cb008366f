//! Fuzzing in the process of the tests: what is in `tests/data/corpus`, changed by chance, is given
//! to one part of the engine at a time, which says in a `fuzz.rs` of its own what must hold.
//!
//! A round is some thousand inputs; with `FACTUM_SUITE=full` it goes on for minutes. The seed is
//! printed, and `FACTUM_SEED` repeats a round; what fails is printed as it is. An input that found
//! something becomes a file of the corpus, and a test of its own with its story.

mod memory;
mod mutate;

use std::path::Path;
use std::time::Duration;

use crate::clock::{Stopwatch, new_seed};

pub(crate) use memory::{is_bounded, is_bounded_beyond};
use mutate::Mutator;

/// How long a round is with `FACTUM_SUITE=full`.
const FULL: Duration = Duration::from_secs(180);

/// Gives every file of a target's corpus to `each` as it is, and then `count` inputs made of them;
/// `dictionary` has what the grammar is made of.
pub(crate) fn run(target: &str, dictionary: &[&str], count: u64, each: impl Fn(&[u8])) {
    let corpus = corpus(target);
    for (_, seed) in &corpus {
        tried(target, seed, &each);
    }
    let seeds: Vec<_> = corpus.into_iter().map(|(_, seed)| seed).collect();
    run_on(target, &seeds, dictionary, count, each);
}

/// The same, on inputs of the caller's.
pub(crate) fn run_on(
    target: &str,
    seeds: &[Vec<u8>],
    dictionary: &[&str],
    count: u64,
    each: impl Fn(&[u8]),
) {
    let seed = std::env::var("FACTUM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(new_seed);
    println!("fuzz {target}: FACTUM_SEED={seed}");
    let is_full = std::env::var("FACTUM_SUITE").is_ok_and(|suite| suite == "full");
    let (since, mut mutator) = (Stopwatch::start(), Mutator::new(seed, seeds, dictionary));
    let mut done = 0;
    while done < count || (is_full && since.elapsed() < FULL) {
        tried(target, &mutator.input(), &each);
        done += 1;
    }
}

/// The files of a target's corpus, in the order of their names.
pub(crate) fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/corpus");
    let files = std::fs::read_dir(root.join(target)).expect("a corpus");
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read(&path).expect("reads"))
    };
    let mut files: Vec<_> = files.map(|file| read(file.expect("a file").path())).collect();
    files.sort_unstable();
    assert!(!files.is_empty(), "{target} has no corpus");
    files
}

/// Prints the input that nobody foresaw.
struct Shown<'a>(&'a str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("fuzz {}: the input was b\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

fn tried(target: &str, input: &[u8], each: &impl Fn(&[u8])) {
    let _shown = Shown(target, input);
    each(input);
}
