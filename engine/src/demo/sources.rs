//! Finds the example modules' sources and builds them.
//!
//! It promises to look only upwards from the current directory and beside the engine's own
//! sources, and that nothing is installed without a line saying so first.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;

use super::flights::{self, Flight};
use crate::clock::Stopwatch;
use crate::guest_build::{BuildRequest, build};
use crate::report::{Report, grouped};
use crate::tasks::blocking;

/// What tells the directory that has the examples.
const LANDMARK: &str = "guest-examples/flights/Cargo.toml";
const WEEK: &str = "guest-examples/flights/data/january-week1.csv";

/// Where the examples are.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    root: PathBuf,
}

/// Whether a missing toolchain is put there or only named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Install {
    /// It is installed, after a line saying how.
    Allowed,
    /// The command is only printed.
    PrintOnly,
}

/// A module of the examples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Example {
    /// The module's name.
    pub(crate) name: &'static str,
    /// Where its crate is.
    dir: &'static str,
    /// The cargo feature that makes this version of it.
    feature: Option<&'static str>,
}

/// The account as it comes.
pub(crate) const ACCOUNT: Example =
    Example { name: "account", dir: "guest-examples/account", feature: None };
/// The account that may go down to -100.
pub(crate) const ACCOUNT_OVERDRAFT: Example =
    Example { name: "account", dir: "guest-examples/account", feature: Some("overdraft") };
/// The flights and their read models.
pub(crate) const FLIGHTS: Example =
    Example { name: "flights", dir: "guest-examples/flights", feature: None };
/// Ten projections that count deposits, for benches.
pub(crate) const COUNTING: Example =
    Example { name: "counting", dir: "tests/guests/counting", feature: Some("bench") };
/// Two projections of tests, of which one counts.
pub(crate) const COUNTS: Example =
    Example { name: "counting", dir: "tests/guests/counting", feature: None };
/// The module of the tests that does what none may.
pub(crate) const HOSTILE: Example =
    Example { name: "hostile", dir: "tests/guests/hostile", feature: None };

impl Install {
    /// As the flag `--no-install` says.
    pub(crate) fn unless(no_install: bool) -> Self {
        if no_install { Self::PrintOnly } else { Self::Allowed }
    }
}

impl Example {
    fn label(self) -> String {
        let feature = self.feature.map(|feature| format!(" with {feature}"));
        format!("{}{}", self.name, feature.unwrap_or_default())
    }
}

impl Sources {
    /// Looks for the examples.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the current directory cannot be read")?;
        let beside_engine = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        here.ancestors()
            .chain(beside_engine)
            .find(|directory| directory.join(LANDMARK).is_file())
            .map(|root| Self { root: root.to_owned() })
            .ok_or_else(|| {
                anyhow!(
                    "the example modules are built from source, and {LANDMARK} is not in {} or \
                     above: run this inside a checkout of the repository",
                    here.display()
                )
            })
    }

    /// The flights of the week.
    pub(crate) fn week(&self) -> anyhow::Result<Vec<Flight>> {
        let path = self.root.join(WEEK);
        let csv = std::fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(flights::parse(&csv)?)
    }

    /// Builds a module from its source; slow the first time.
    pub(crate) async fn build(
        &self,
        example: Example,
        install: Install,
        report: &mut Report,
    ) -> anyhow::Result<Bytes> {
        let request = BuildRequest {
            crate_dir: self.root.join(example.dir),
            features: example.feature.map(str::to_owned).into_iter().collect(),
            target_dir: self.root.join("target").join("guests"),
            install: install == Install::Allowed,
        };
        let (steps, mut step) = tokio::sync::mpsc::channel(16);
        let started = Stopwatch::start();
        let building = blocking(move || {
            build(&request, &mut |line| {
                // Nobody listens any more only when the demo was interrupted.
                let _ = steps.blocking_send(line.to_owned());
            })
        });
        let root = format!("{}/", self.root.display());
        let show = async {
            while let Some(line) = step.recv().await {
                report.item(format_args!("$ {}", line.replace(&root, "")));
            }
        };
        let (built, ()) = tokio::join!(building, show);
        let component = Bytes::from(built.context("the build panicked")??);
        let kilobytes = i64::try_from(component.len() / 1024).unwrap_or(i64::MAX);
        report.item(format_args!(
            "{}: {} KiB in {:.1} s",
            example.label(),
            grouped(kilobytes),
            started.elapsed().as_secs_f64()
        ));
        Ok(component)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_week_is_found_from_inside_the_repository() {
        let sources = Sources::find().expect("tests run inside the repository");
        assert_eq!(sources.week().expect("readable").len(), 6_099);
    }
}
