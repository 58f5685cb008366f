//! `factum build`: a guest's source becomes a component that can be uploaded.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::guest_build::{BuildRequest, build};
use crate::report::Report;
use crate::tasks;

/// What `factum build` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct BuildArgs {
    /// The directory of the guest's Cargo.toml, module.ts or module.py
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// Where the component goes; by default NAME.wasm here, NAME being the directory's
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Cargo features to switch on
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// Only print the command that installs a missing toolchain
    #[arg(long)]
    no_install: bool,
}

/// Builds and says where the component is.
pub(super) async fn run(args: BuildArgs) -> Result<ExitCode, String> {
    let built = tasks::blocking(move || {
        let mut report = Report::stdout();
        let crate_dir = std::path::absolute(&args.directory).map_err(|error| error.to_string())?;
        let name = crate_dir.file_name().unwrap_or_default().to_owned();
        let output = args.output.unwrap_or_else(|| PathBuf::from(name).with_extension("wasm"));
        let target_dir = std::path::absolute("target/guests").map_err(|error| error.to_string())?;
        let install = !args.no_install;
        let request = BuildRequest { crate_dir, features: args.features, target_dir, install };
        let component = build(&request, &mut |line| report.line(format_args!("$ {line}")))
            .map_err(|error| error.to_string())?;
        std::fs::write(&output, &component)
            .map_err(|error| format!("{}: {error}", output.display()))?;
        report.line(format_args!("{}: {} bytes", output.display(), component.len()));
        Ok(ExitCode::SUCCESS)
    });
    built.await.unwrap_or_else(|| Err("the build panicked".to_owned()))
}
