//! The only place that starts threads: each has a name, is joined at shutdown, and one that
//! panics makes the engine unhealthy instead of dying in silence.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

/// Starts threads and remembers which of them died.
#[derive(Clone, Debug, Default)]
pub struct Spawner {
    dead: Arc<Mutex<Vec<String>>>,
}

/// A running thread. Dropping it lets the thread go on; its owner joins it at shutdown.
#[derive(Debug)]
pub struct Thread(Option<JoinHandle<()>>);

impl Spawner {
    /// Starts a thread that ends by itself when its work is closed.
    pub fn thread(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Thread {
        let dead = Arc::clone(&self.dead);
        let label = name.to_owned();
        #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            if worked.is_err() {
                tracing::error!(thread = label, "a thread panicked; the engine is unhealthy");
                dead.lock().push(label);
            }
        });
        match spawned {
            Ok(handle) => Thread(Some(handle)),
            Err(error) => {
                tracing::error!(thread = name, %error, "a thread could not be started");
                self.dead.lock().push(name.to_owned());
                Thread(None)
            }
        }
    }

    /// The threads that panicked or could not be started.
    #[must_use]
    pub fn dead(&self) -> Vec<String> {
        self.dead.lock().clone()
    }
}

impl Thread {
    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end.
    pub fn join(self) {
        if let Some(handle) = self.0 {
            // A panic was reported by the thread itself.
            let _ = handle.join();
        }
    }
}

/// Lets workers work side by side, the first on the calling thread, and answers in their order once
/// all have ended. A panic goes on in the caller.
///
/// # Errors
/// When a thread could not be started; those that were have ended.
pub fn side_by_side<W: Send, T: Send>(
    workers: &mut [W],
    work: impl Fn(usize, &mut W) -> T + Sync,
) -> std::io::Result<Vec<T>> {
    let work = &work;
    std::thread::scope(|scope| {
        let mut workers = workers.iter_mut().enumerate();
        let Some((_, first)) = workers.next() else { return Ok(Vec::new()) };
        let start = |(at, worker)| {
            std::thread::Builder::new().spawn_scoped(scope, move || work(at, worker))
        };
        let others = workers.map(start).collect::<Result<Vec<_>, _>>()?;
        let mut answers = vec![work(0, first)];
        for other in others {
            let answer = other.join();
            answers.push(answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        Ok(answers)
    })
}

/// Runs work that blocks beside the asynchronous threads; none if it panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    tokio::task::spawn_blocking(work).await.ok()
}

/// Runs asynchronous work to its end even if its caller goes away; none if it panicked.
pub async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    tokio::spawn(work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_side_by_side_answer_in_their_order_and_a_panic_goes_on() {
        let mut workers = [10, 20, 30];
        let answers = side_by_side(&mut workers, |at, worker| {
            *worker += 1;
            (at, *worker)
        });
        assert_eq!(answers.expect("threads"), [(0, 11), (1, 21), (2, 31)]);
        assert_eq!(side_by_side(&mut [(); 0], |at, ()| at).expect("nothing"), [0; 0]);
        let panicked = std::panic::catch_unwind(|| {
            side_by_side(&mut [(); 2], |at, ()| assert_ne!(at, 1, "as the test wants"))
        });
        assert!(panicked.is_err());
    }
}
