//! A server that is killed again and again while writers write.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{Client, Server};

/// A small generator, so that a printed seed repeats a run.
pub struct Random(AtomicU64);

impl Random {
    /// Seeds it, with what `FACTUM_SEED` says where it says something, and prints the seed.
    pub fn from_time() -> Self {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let given = std::env::var("FACTUM_SEED").ok().map(|seed| seed.parse().expect("a number"));
        let seed = given.unwrap_or(u64::from(time.expect("a time").subsec_nanos())) | 1;
        eprintln!("FACTUM_SEED={seed}");
        Self(AtomicU64::new(seed))
    }

    /// A number below another.
    pub fn below(&self, end: u64) -> u64 {
        let mut x = self.0.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.store(x, Ordering::Relaxed);
        x % end
    }

    /// One of some.
    pub fn pick<'t, T>(&self, from: &'t [T]) -> &'t T {
        let at = self.below(from.len() as u64);
        &from[usize::try_from(at).expect("few")]
    }
}

/// How often something is done: so often with each push, or so often with `FACTUM_SUITE=full`.
pub fn rounds(push: u64, full: u64) -> u64 {
    if std::env::var("FACTUM_SUITE").is_ok_and(|suite| suite == "full") { full } else { push }
}

/// Lets every writer write until the server is killed, starts it again and settles what had no
/// answer; so many rounds. Answers the last server.
pub fn under_kills<W: Send>(
    (dir, mut server): (&Path, Server),
    (rounds, random): (u64, &Random),
    writers: &mut [W],
    write: impl Fn(&Client, &mut W, &AtomicBool) + Sync,
    mut settle: impl FnMut(&Client, &mut [W]),
) -> Server {
    for _ in 0..rounds {
        let stop = AtomicBool::new(false);
        let client = server.client.clone();
        std::thread::scope(|scope| {
            for writer in &mut *writers {
                let (client, write, stop) = (&client, &write, &stop);
                scope.spawn(move || write(client, writer, stop));
            }
            std::thread::sleep(Duration::from_millis(20 + random.below(150)));
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        // Sometimes it is killed again while it starts.
        if random.below(3) == 0
            && let Ok(again) = Server::try_start(dir, &[])
        {
            again.kill();
        }
        server = Server::start(dir);
        settle(&server.client, writers);
    }
    server
}
