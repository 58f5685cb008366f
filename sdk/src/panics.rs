//! Makes a panic leave its message behind before it becomes a trap, which carries none.

use std::sync::Once;

use crate::log::{self, Level};

static INSTALLED: Once = Once::new();

/// Called on the way into every export, since a component has no start of its own. Natively panics
/// belong to whoever runs the tests.
pub(crate) fn install() {
    if cfg!(target_arch = "wasm32") {
        INSTALLED.call_once(|| {
            std::panic::set_hook(Box::new(|panic| {
                log::write(Level::Error, &panic.to_string());
            }));
        });
    }
}
