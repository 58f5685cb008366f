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
