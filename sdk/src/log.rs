//! Lines for the operator: `log::info!("{n} seats left")`.
//!
//! In a component they go to the engine's log, natively to standard error. They are no part of any
//! answer.

pub use crate::bindings::log::Level;

#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_warn as warn,
};

/// Writes one line.
pub fn write(level: Level, message: &str) {
    if cfg!(target_arch = "wasm32") {
        crate::bindings::log::log(level, message);
    } else {
        eprintln!("{level:?}: {message}");
    }
}

/// Writes a line at level debug.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Debug, &format!($($message)*)) };
}

/// Writes a line at level info.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Info, &format!($($message)*)) };
}

/// Writes a line at level warn.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Warn, &format!($($message)*)) };
}

/// Writes a line at level error.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Error, &format!($($message)*)) };
}
