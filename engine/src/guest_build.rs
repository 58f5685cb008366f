//! From a guest's source to a component. Of a Rust crate: finds a toolchain that can make
//! WebAssembly, runs cargo, and turns the core module into a component. Of a `module.ts` or a
//! `module.py`: gets the tools of that language, which make components themselves.
//!
//! It promises that nothing is downloaded or installed without a line saying so first, that the
//! build depends on nothing an outer cargo left in the environment, and that several builds may run
//! at once. It must not print: lines go to the `report` of the caller.

use std::path::PathBuf;

mod compile;
mod error;
mod run;
mod scripted;
mod toolchain;

pub use error::BuildError;

/// The target of all guests: no WASI, hence no imports but the contract's.
const TARGET: &str = "wasm32-unknown-unknown";

/// What to build, and how.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The directory of the guest's `Cargo.toml`, `module.ts` or `module.py`.
    pub crate_dir: PathBuf,
    /// Cargo features to switch on.
    pub features: Vec<String>,
    /// Where cargo builds. Not the target directory of a cargo that is running: they would wait for
    /// each other.
    pub target_dir: PathBuf,
    /// Whether a missing toolchain may be installed, or only be asked for.
    pub install: bool,
}

/// Builds a guest and answers its component. `report` gets a line before each thing that takes
/// time, beginning with the command that is about to run.
pub fn build(request: &BuildRequest, report: &mut dyn FnMut(&str)) -> Result<Vec<u8>, BuildError> {
    let guest = &request.crate_dir;
    if guest.join("Cargo.toml").is_file() {
        let toolchain = toolchain::find(request, report)?;
        let module = compile::compile(request, &toolchain, report)?;
        return componentize(&module);
    }
    match scripted::Language::of(guest) {
        Some(language) => scripted::build(language, request, report),
        None => Err(BuildError::NotAGuest { dir: guest.clone() }),
    }
}

/// The guest's bindings left a description of its imports and exports in the core module.
fn componentize(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    let component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| BuildError::Component { reason: format!("{error:#}") })?;
    if describes_itself(&component) {
        return Ok(component);
    }
    Err(BuildError::Component { reason: "it exports no manifest".to_owned() })
}

/// Whether it exports what every module of Factum does. The engine checks the rest.
fn describes_itself(component: &[u8]) -> bool {
    let Ok(decoded) = wit_component::decode(component) else { return false };
    let resolve = decoded.resolve();
    resolve
        .worlds
        .iter()
        .flat_map(|(_, world)| world.exports.keys())
        .any(|export| resolve.name_world_key(export).starts_with("factum:domain/manifest@"))
}
