//! Why a guest could not be built. Each message names the cause and the fix.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a guest could not be built.
#[derive(Debug)]
pub enum BuildError {
    /// The directory holds no guest.
    NotAGuest {
        /// The directory.
        dir: PathBuf,
    },
    /// Features were asked for, which only crates have.
    Features {
        /// The guest's language.
        language: &'static str,
    },
    /// There is no toolchain for guests, and installing one was not asked for or not possible.
    NoToolchain {
        /// What is wrong with each that was considered.
        reasons: Vec<String>,
        /// The commands that would install one.
        fixes: Vec<String>,
    },
    /// `FACTUM_GUEST_TOOLCHAIN` holds something else than a toolchain.
    UnknownToolchain {
        /// Its value.
        value: String,
    },
    /// A program could not be started.
    NotStarted {
        /// The command.
        command: String,
        /// What the operating system said.
        error: io::Error,
    },
    /// The guest does not compile.
    Compile {
        /// The crate's directory.
        crate_dir: PathBuf,
        /// What cargo said, the compiler's errors included.
        stderr: String,
    },
    /// The guest compiled, but not to a WebAssembly module.
    NoModule {
        /// The crate's directory.
        crate_dir: PathBuf,
    },
    /// The module does not describe a component.
    Component {
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAGuest { dir } => write!(
                f,
                "{} has no Cargo.toml, module.ts or module.py: give the directory of a guest",
                dir.display()
            ),
            Self::Features { language } => {
                write!(f, "a module in {language} has no features: leave --features out")
            }
            Self::NoToolchain { reasons, fixes } => write!(
                f,
                "no toolchain makes this guest here ({}); run `{}`",
                reasons.join("; "),
                fixes.join("`, or `")
            ),
            Self::UnknownToolchain { value } => write!(
                f,
                "FACTUM_GUEST_TOOLCHAIN is `{value}`: set it to `rustup` or `debian`, or remove it"
            ),
            Self::NotStarted { command, error } => {
                write!(f, "`{command}` did not start ({error}): is it installed and on the PATH?")
            }
            Self::Compile { crate_dir, stderr } => {
                write!(f, "the guest in {} does not build:\n{stderr}", crate_dir.display())
            }
            Self::NoModule { crate_dir } => write!(
                f,
                "the guest in {} makes no WebAssembly module: its Cargo.toml needs \
                 `[lib] crate-type = [\"cdylib\"]`",
                crate_dir.display()
            ),
            Self::Component { reason } => write!(
                f,
                "the module is no component ({reason}): does the crate call factum_sdk::module!?"
            ),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotStarted { error, .. } | Self::File { error, .. } => Some(error),
            _ => None,
        }
    }
}
