//! Finds what compiles to WebAssembly, and installs it where that is allowed.
//!
//! First choice is rustup's target. Where rustup is absent or cannot fetch it, Debian packages a
//! compiler for it without a ready standard library, which is then built along with the guest.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::run::{command, describe, stdout};
use super::{BuildError, BuildRequest, TARGET};

const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];
const APT: &str = "/usr/bin/apt-get";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STD: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";

/// Which compiler makes the guest.
#[derive(Debug)]
pub(super) enum Toolchain {
    /// The compiler on the PATH, which has the target's standard library.
    Rustup,
    /// Debian's compiler, which builds the standard library first.
    Debian {
        /// A linker for WebAssembly.
        linker: PathBuf,
    },
}

/// Forces one of them, so that both ways can be tried on one machine.
enum Choice {
    Any,
    Rustup,
    Debian,
}

impl Choice {
    fn of_environment() -> Result<Self, BuildError> {
        let value = std::env::var("FACTUM_GUEST_TOOLCHAIN").unwrap_or_default();
        match value.as_str() {
            "" => Ok(Self::Any),
            "rustup" => Ok(Self::Rustup),
            "debian" => Ok(Self::Debian),
            _ => Err(BuildError::UnknownToolchain { value }),
        }
    }
}

/// A toolchain that is there, or was put there.
pub(super) fn find(
    request: &BuildRequest,
    report: &mut dyn FnMut(&str),
) -> Result<Toolchain, BuildError> {
    let choice = Choice::of_environment()?;
    Search::run(request, report, |search| match choice {
        Choice::Any => search.rustup().or_else(|| search.debian()),
        Choice::Rustup => search.rustup(),
        Choice::Debian => search.debian(),
    })
}

fn lock(target_dir: &Path) -> Result<File, BuildError> {
    let path = target_dir.join(".factum-toolchain.lock");
    fs::create_dir_all(target_dir)
        .and_then(|()| File::create(&path))
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| BuildError::File { path, error })
}

/// One search, with what it has found missing so far.
pub(super) struct Search<'a> {
    request: &'a BuildRequest,
    report: &'a mut dyn FnMut(&str),
    reasons: Vec<String>,
    fixes: Vec<String>,
}

impl Search<'_> {
    /// Searches, and installs what is missing where that is allowed.
    pub(super) fn run<T>(
        request: &BuildRequest,
        report: &mut dyn FnMut(&str),
        search: impl FnOnce(&mut Search<'_>) -> Option<T>,
    ) -> Result<T, BuildError> {
        // Two builds must not install at once.
        let _lock = lock(&request.target_dir)?;
        let mut all = Search { request, report, reasons: Vec::new(), fixes: Vec::new() };
        let found = search(&mut all);
        found.ok_or(BuildError::NoToolchain { reasons: all.reasons, fixes: all.fixes })
    }

    /// Whether a program does anything at all.
    pub(super) fn runs(&mut self, program: &str, argument: &str) -> bool {
        let mut tried = self.command(program);
        match stdout(tried.arg(argument)) {
            Ok(_) => true,
            Err(reason) => self.lacks(reason),
        }
    }

    fn rustup(&mut self) -> Option<Toolchain> {
        if self.has_target() {
            return Some(Toolchain::Rustup);
        }
        let mut add = self.command("rustup");
        add.args(["target", "add", TARGET]);
        (self.install(&mut add) && self.has_target()).then_some(Toolchain::Rustup)
    }

    fn has_target(&mut self) -> bool {
        let mut rustc = self.command("rustc");
        rustc.args(["--print", "target-libdir", "--target", TARGET]);
        match stdout(&mut rustc) {
            Ok(libdir) if fs::read_dir(&libdir).is_ok_and(|mut files| files.next().is_some()) => {
                true
            }
            Ok(_) => self.lacks(format!("rustc has no standard library for {TARGET}")),
            Err(reason) => self.lacks(reason),
        }
    }

    fn debian(&mut self) -> Option<Toolchain> {
        let installed = has_debian_packages() || self.apt(&DEBIAN_PACKAGES);
        if !installed || !has_debian_packages() {
            return None;
        }
        let linker = self.linker()?;
        Some(Toolchain::Debian { linker })
    }

    /// Installs Debian's packages.
    pub(super) fn apt(&mut self, packages: &[&str]) -> bool {
        self.lacks(format!("Debian's {} are not installed", packages.join(" and ")));
        if !Path::new(APT).exists() {
            return self.lacks(format!("there is no {APT} to install them with"));
        }
        let mut install = self.command(APT);
        install.env("DEBIAN_FRONTEND", "noninteractive");
        install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
        if !is_root() {
            self.fixes.push(format!("sudo {}", describe(&install)));
            return self.lacks("installing them takes root".to_owned());
        }
        if self.install(&mut install) || !self.request.install {
            return self.request.install;
        }
        // A fresh machine has no package lists yet.
        let mut update = self.command(APT);
        update.args(["update", "--quiet"]);
        self.install(&mut update) && self.install(&mut install)
    }

    /// Debian's compiler expects a linker that it does not bring along; a rustup toolchain has one.
    fn linker(&mut self) -> Option<PathBuf> {
        let mut rustc = self.command("rustc");
        let sysroot = stdout(rustc.args(["--print", "sysroot"])).unwrap_or_default();
        let rustlib = Path::new(&sysroot).join("lib/rustlib");
        let hosts = fs::read_dir(rustlib).into_iter().flatten().flatten();
        let bundled = hosts.map(|host| host.path().join("bin/rust-lld"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let on_path = ["rust-lld", "wasm-ld"]
            .into_iter()
            .flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
        let linker = bundled.chain(on_path).find(|linker| linker.is_file());
        if linker.is_none() {
            self.fixes.push("apt-get install lld".to_owned());
            self.lacks("there is no linker, neither rust-lld nor wasm-ld".to_owned());
        }
        linker
    }

    /// Runs one step of an installation, if that is allowed.
    pub(super) fn install(&mut self, step: &mut Command) -> bool {
        let line = describe(step);
        if !self.request.install {
            (self.report)(&format!("{line} (not run: installing is switched off)"));
            self.fixes.push(line);
            return false;
        }
        (self.report)(&line);
        match stdout(step) {
            Ok(_) => true,
            Err(reason) => {
                self.fixes.push(line);
                self.lacks(reason)
            }
        }
    }

    fn lacks(&mut self, reason: String) -> bool {
        self.reasons.push(reason);
        false
    }

    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        command(program, &self.request.crate_dir)
    }
}

fn has_debian_packages() -> bool {
    Path::new(DEBIAN_RUSTC).exists() && Path::new(DEBIAN_STD).exists()
}

fn is_root() -> bool {
    stdout(Command::new("id").arg("-u")).is_ok_and(|id| id == "0")
}

impl Toolchain {
    /// Turns a cargo command into one that uses this toolchain.
    pub(super) fn configure(&self, cargo: &mut Command) {
        if let Self::Debian { linker } = self {
            // Only this child may use unstable options: they need no other compiler, but a promise
            // of none of them is kept.
            cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", DEBIAN_RUSTC);
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            cargo.arg("-Zbuild-std=std,panic_abort");
        }
    }
}
