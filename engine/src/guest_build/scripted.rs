//! Modules in TypeScript and in Python: finds the tools that make components of them, and hands
//! those the module, the SDK that belongs to this engine, and the contract.
//!
//! What they make has no WASI in it. Tools, SDKs and what is made on the way live in the target
//! directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::run::{command, describe, output};
use super::toolchain::Search;
use super::{BuildError, BuildRequest};

const WIT: &str = include_str!("../../../wit/factum.wit");
/// What a module exports and may import.
const WORLD: &str = "\nworld module {\n  include guest;\n  include aggregate-role;\n}\n";

/// The tools that were tried with the contract.
const NPM_PACKAGES: [&str; 2] = ["componentize-qjs@0.4.5", "esbuild@0.28.2"];
const PIP_PACKAGE: &str = "componentize-py==0.25.1";

/// The SDKs, by the names that modules import them under.
const TYPESCRIPT_SDK: [(&str, &str); 2] = [
    ("index.ts", include_str!("../../../sdk/typescript/index.ts")),
    ("world.ts", include_str!("../../../sdk/typescript/world.ts")),
];
const PYTHON_SDK: [(&str, &str); 2] = [
    ("__init__.py", include_str!("../../../sdk/python/factum_sdk/__init__.py")),
    ("world.py", include_str!("../../../sdk/python/factum_sdk/world.py")),
];

/// A language whose own tools make components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    TypeScript,
    Python,
}

impl Language {
    const ALL: [Self; 2] = [Self::TypeScript, Self::Python];

    /// The language of the guest, told by its module's file.
    pub(super) fn of(guest: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|language| guest.join(language.file()).is_file())
    }

    pub(super) fn file(self) -> &'static str {
        match self {
            Self::TypeScript => "module.ts",
            Self::Python => "module.py",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::TypeScript => "typescript",
            Self::Python => "python",
        }
    }
}

/// Builds a guest of one of these languages.
pub(super) fn build(
    language: Language,
    request: &BuildRequest,
    report: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, BuildError> {
    if !request.features.is_empty() {
        return Err(BuildError::Features { language: language.name() });
    }
    let target = request.target_dir.join(language.name());
    let tools = target.join("tools");
    Search::run(request, report, |search| match language {
        Language::TypeScript => npm(search, &tools).then_some(()),
        Language::Python => pip(search, &tools).then_some(()),
    })?;
    let place = target.join(request.crate_dir.file_name().unwrap_or_default());
    let step = Step { request, tools: &tools, place: &place };
    write(&place.join("factum.wit"), &format!("{WIT}{WORLD}"))?;
    match language {
        Language::TypeScript => step.typescript(report)?,
        Language::Python => step.python(report)?,
    }
    let path = place.join("module.wasm");
    fs::read(&path).map_err(|error| BuildError::File { path, error })
}

/// Whether npm's tools are there, or were put there.
fn npm(search: &mut Search<'_>, tools: &Path) -> bool {
    let has_tools = || {
        let versions = fs::read_to_string(tools.join("package.json")).unwrap_or_default();
        let is_named = |package: &&str| {
            let (name, version) = package.split_once('@').unwrap_or_default();
            versions.contains(&format!("\"{name}\": \"{version}\""))
                && tools.join("node_modules").join(name).is_dir()
        };
        NPM_PACKAGES.iter().all(is_named)
    };
    if has_tools() {
        return true;
    }
    if !search.runs("npm", "--version") && !search.apt(&["nodejs", "npm"]) {
        return false;
    }
    let mut install = search.command("npm");
    install.args(["install", "--no-audit", "--no-fund", "--save-exact", "--prefix"]).arg(tools);
    install.args(NPM_PACKAGES);
    search.install(&mut install) && has_tools()
}

/// Whether Python's tool is there, or was put there.
fn pip(search: &mut Search<'_>, tools: &Path) -> bool {
    let has_tool = || {
        let version = fs::read_to_string(tools.join("version")).unwrap_or_default();
        version == PIP_PACKAGE && tools.join("bin").join("componentize-py").is_file()
    };
    if has_tool() {
        return true;
    }
    if !search.runs("python3", "-mpip") && !search.apt(&["python3-pip"]) {
        return false;
    }
    let mut install = search.command("python3");
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    install.args(["--upgrade", "--target"]).arg(tools).arg(PIP_PACKAGE);
    search.install(&mut install) && write(&tools.join("version"), PIP_PACKAGE).is_ok() && has_tool()
}

/// What one build works with.
struct Step<'a> {
    request: &'a BuildRequest,
    tools: &'a Path,
    /// Where what it makes on the way goes.
    place: &'a Path,
}

impl Step<'_> {
    fn typescript(&self, report: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
        let sdk = self.sdk("factum-sdk", &TYPESCRIPT_SDK)?;
        let script = self.place.join("module.js");
        let mut bundle = self.tool("node_modules/.bin/esbuild");
        bundle.args([Language::TypeScript.file(), "--bundle", "--format=esm", "--charset=utf8"]);
        bundle.args(["--log-level=warning", "--external:factum:*"]);
        bundle.arg(joined("--alias:factum-sdk=", &sdk.join("index.ts")));
        bundle.arg(joined("--outfile=", &script));
        self.run(&mut bundle, report)?;
        let mut componentize = self.tool("node_modules/.bin/componentize-qjs");
        componentize.arg("--wit").arg(self.place.join("factum.wit"));
        componentize.arg("--js").arg(&script).args(["--world", "module"]);
        componentize.args(["--sync", "--stub-wasi", "--output"]);
        componentize.arg(self.place.join("module.wasm"));
        self.run(&mut componentize, report)
    }

    fn python(&self, report: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
        let sdk = self.sdk("factum_sdk", &PYTHON_SDK)?;
        let mut componentize = self.tool("bin/componentize-py");
        componentize.env("PYTHONPATH", self.tools);
        componentize.arg("--wit-path").arg(self.place.join("factum.wit"));
        componentize.args(["--world", "module", "componentize", "module", "--stub-wasi"]);
        componentize.args(["--python-path", "."]).arg("--python-path");
        componentize.arg(sdk.parent().unwrap_or(&sdk)).arg("--output");
        componentize.arg(self.place.join("module.wasm"));
        self.run(&mut componentize, report)
    }

    /// The SDK that belongs to this engine.
    fn sdk(&self, name: &str, files: &[(&str, &str)]) -> Result<PathBuf, BuildError> {
        let sdk = self.place.join("sdk").join(name);
        files.iter().try_for_each(|(file, text)| write(&sdk.join(file), text))?;
        Ok(sdk)
    }

    fn tool(&self, path: &str) -> Command {
        command(self.tools.join(path), &self.request.crate_dir)
    }

    fn run(&self, tool: &mut Command, report: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
        let crate_dir = &self.request.crate_dir;
        report(&format!("{} in {}", describe(tool), crate_dir.display()));
        let output = output(tool)?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(BuildError::Compile { crate_dir: crate_dir.clone(), stderr })
    }
}

fn joined(option: &str, path: &Path) -> std::ffi::OsString {
    let mut joined = std::ffi::OsString::from(option);
    joined.push(path);
    joined
}

fn write(path: &Path, text: &str) -> Result<(), BuildError> {
    let dir = path.parent().unwrap_or(path);
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| BuildError::File { path: path.to_owned(), error })
}
