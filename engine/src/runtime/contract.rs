//! Whether a component fits the contract: what it imports, what it exports, function by function.
//!
//! Promises: pure; told from types alone, before anything is compiled; every fault is named at
//! once, with what was found, what is wanted and what to do. The contract itself is `wit/`, read
//! from there.

mod text;

use std::collections::BTreeMap;

use wasmparser::WasmFeatures;
use wasmparser::component_types::{ComponentAnyTypeId, ComponentEntityType, ComponentItem};
use wasmparser::types::TypesRef;

use super::gate::{GateLimits, Passed, check};
use super::{Wasi, frozen};
use text::{Interface, Item, interface};

/// The contract's text.
pub(super) const WIT: &str = include_str!("../../../wit/factum.wit");
/// The world that has everything this server can call and everything a guest may import.
const WORLD: &str = "engine";
/// What the names of its interfaces begin with.
pub(super) const PACKAGE: &str = "factum:domain/";
/// What a version must begin with to be ours: later patches only add.
const SPOKEN: &str = "0.1.";
/// How to do without WASI.
const STUB: &str = "build it without WASI, as `factum build` does";
/// Names that one sentence lists, characters that are told of a name, and faults that are told.
const LISTED: usize = 8;
const MOST_CHARACTERS: usize = 100;
const MOST_FAULTS: usize = 20;

/// Why a component does not fit: every fault, so that one round mends them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit(
    /// One sentence a fault.
    pub Vec<String>,
);

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the component does not fit the contract: {}", self.0.join("; "))
    }
}

impl std::error::Error for Misfit {}

/// The contract: interfaces by name.
#[derive(Debug)]
pub(super) struct Contract {
    imports: BTreeMap<String, Interface>,
    exports: BTreeMap<String, Interface>,
    wasi: Wasi,
}

/// Whose an imported name is. The one place where it is decided what a component may import.
enum Source<'n> {
    /// An interface of the contract, and of a version that this server speaks.
    Contract(&'n str),
    /// The contract's package, in a version that this server does not speak.
    OtherVersion,
    /// An interface of the frozen WASI 0.2. Its functions are compared when it is linked.
    Wasi,
    /// Nobody's that a guest may have.
    Unknown,
}

fn source(name: &str) -> Source<'_> {
    match name.strip_prefix(PACKAGE).map(|rest| rest.split_once('@')) {
        Some(Some((interface, version))) if version.starts_with(SPOKEN) => {
            Source::Contract(interface)
        }
        Some(_) => Source::OtherVersion,
        None if frozen::has(name) => Source::Wasi,
        None => Source::Unknown,
    }
}

/// What a version of the contract must begin with for this server to speak it, if it does not
/// speak this one.
#[must_use]
pub fn unspoken(version: &str) -> Option<&'static str> {
    let is_version = semver::Version::parse(version).is_ok();
    (!is_version || !version.starts_with(SPOKEN)).then_some(SPOKEN)
}

impl Contract {
    /// Reads it from `wit/`.
    ///
    /// # Errors
    /// A sentence, which a test of this crate would have seen.
    pub(super) fn read(wasi: Wasi) -> Result<Self, String> {
        let mut resolve = wit_parser::Resolve::default();
        let package = resolve.push_source("factum.wit", WIT).map_err(|e| format!("{e:#}"))?;
        let bytes = wit_component::encode(&resolve, package).map_err(|e| format!("{e:#}"))?;
        let passed = check(&bytes, WasmFeatures::default(), &GateLimits::default(), 0)
            .map_err(|error| error.to_string())?;
        let types = passed.types.as_ref();
        let missing = || format!("wit/ has no world {WORLD}");
        let outer = component(types, types.component_item_for_export(WORLD)).ok_or_else(missing)?;
        let world = component(types, outer.exports.values().next()).ok_or_else(missing)?;
        Ok(Self {
            imports: interfaces(types, world.imports.iter()),
            exports: interfaces(types, world.exports.iter()),
            wasi,
        })
    }

    /// Compares what a component imports and exports with the contract.
    pub(super) fn fits(&self, passed: &Passed<'_>) -> Result<(), Misfit> {
        let types = passed.types.as_ref();
        let mut faults = Vec::new();
        for name in &passed.imports {
            if let Some(item) = types.component_item_for_import(name) {
                self.import(types, name, item, &mut faults);
            }
        }
        let wasi = passed.imports.iter().filter(|name| matches!(source(name), Source::Wasi));
        if self.wasi == Wasi::Refused && wasi.clone().next().is_some() {
            let names = list(wasi.map(|name| shown(name)));
            faults.push(format!(
                "it imports {names}, and this server was started with --refuse-wasi; {STUB}"
            ));
        }
        self.exports(types, &passed.exports, &mut faults);
        let more = faults.len().saturating_sub(MOST_FAULTS);
        if more > 0 {
            faults.truncate(MOST_FAULTS);
            faults.push(format!("and {more} more"));
        }
        if faults.is_empty() { Ok(()) } else { Err(Misfit(faults)) }
    }

    fn import(
        &self,
        types: TypesRef<'_>,
        name: &str,
        item: &ComponentItem,
        faults: &mut Vec<String>,
    ) {
        let wanted = match source(name) {
            Source::Contract(interface) => self.imports.get(interface),
            Source::OtherVersion => return faults.push(other_version("imports", name)),
            Source::Wasi if matches!(item.ty, ComponentEntityType::Instance(_)) => return,
            Source::Wasi | Source::Unknown => None,
        };
        let (Some(wanted), ComponentEntityType::Instance(id)) = (wanted, &item.ty) else {
            let fix = if name.starts_with(frozen::PACKAGES) {
                format!("; {STUB}")
            } else {
                String::new()
            };
            return faults.push(format!(
                "it imports {}, and a guest may import only {}, and of WASI 0.2 what wasi:cli \
                 has{fix}",
                shown(name),
                list(self.imports.keys().map(|name| format!("{PACKAGE}{name}"))),
            ));
        };
        for (item, found) in interface(types, *id) {
            match wanted.get(&item) {
                Some(wanted) => faults.extend(difference(name, &item, &found, wanted)),
                None => {
                    let (item, name) = (shown(&item), shown(name));
                    faults.push(format!("it imports {item} of {name}, which has none"));
                }
            }
        }
    }

    fn exports(&self, types: TypesRef<'_>, names: &[&str], faults: &mut Vec<String>) {
        let item = |name: &str| types.component_item_for_export(name).map(|item| &item.ty);
        let is_type = |name: &&str| matches!(item(name), Some(ComponentEntityType::Type { .. }));
        if !names.is_empty() && names.iter().all(is_type) {
            return faults.push(
                "it is a WIT package, which describes interfaces and has no code; upload the \
                 component that was built from it"
                    .into(),
            );
        }
        let (mut roles, mut others) = (0, Vec::new());
        for name in names {
            match (source(name), item(name)) {
                (Source::Contract(role), Some(ComponentEntityType::Instance(id))) => {
                    roles += 1;
                    let Some(wanted) = self.exports.get(role) else { continue };
                    role_faults(name, &interface(types, *id), wanted, faults);
                }
                (Source::OtherVersion, _) => {
                    roles += 1;
                    faults.push(other_version("exports", name));
                }
                _ => others.push(shown(name)),
            }
        }
        if roles == 0 {
            let found = if others.is_empty() {
                "nothing".to_owned()
            } else {
                format!("only {}", list(others.into_iter()))
            };
            faults.push(format!(
                "it was built for another world: of {PACKAGE} it exports no interface, and \
                 otherwise {found}; build it for the world `guest` of wit/factum.wit"
            ));
        } else if !names.iter().any(|name| name.starts_with("factum:domain/manifest@")) {
            faults.push(format!("it does not export {PACKAGE}manifest, which every module has"));
        }
    }
}

/// What an exported interface lacks, and where it differs. More than the contract has is no fault.
fn role_faults(name: &str, found: &Interface, wanted: &Interface, faults: &mut Vec<String>) {
    for (item, wanted) in wanted {
        match (found.get(item), wanted) {
            (Some(found), _) => faults.extend(difference(name, item, found, wanted)),
            (None, Item::Function { .. }) => {
                faults.push(format!("its {} lacks the function {item:?}", shown(name)));
            }
            // What the functions take and answer is compared with them.
            (None, _) => {}
        }
    }
}

fn difference(interface: &str, name: &str, found: &Item, wanted: &Item) -> Option<String> {
    let differs = match (found, wanted) {
        _ if found == wanted => return None,
        (
            Item::Function { parameters, result, .. },
            Item::Function { parameters: wanted_parameters, result: wanted_result, .. },
        ) => {
            let (count, wanted_count) = (parameters.len(), wanted_parameters.len());
            let mut pairs = parameters.iter().zip(wanted_parameters);
            if count != wanted_count {
                format!("takes {count} parameters where the contract has {wanted_count}")
            } else if let Some((found, wanted)) = pairs.find(|(found, wanted)| found != wanted) {
                let ((name, ty), (wanted_name, wanted_ty)) = (found, wanted);
                format!("takes `{name}: {ty}` where the contract has `{wanted_name}: {wanted_ty}`")
            } else if result != wanted_result {
                format!("answers `{result}` where the contract has `{wanted_result}`")
            } else {
                "is asynchronous, and the contract's is not".into()
            }
        }
        (Item::Type(found), Item::Type(wanted)) => {
            format!("is `{found}` where the contract has `{wanted}`")
        }
        (Item::Other(found), _) => format!("is {found}, which the contract has none of"),
        _ => "is a function where the contract has a type, or the other way round".into(),
    };
    let (name, interface) = (shown(name), shown(interface));
    Some(format!("{name} of {interface} {differs}; build it with an SDK of contract {SPOKEN}x"))
}

fn other_version(does: &str, name: &str) -> String {
    let version = name.split_once('@').map_or("without a version", |(_, version)| version);
    format!(
        "it {does} {}, of contract version {version}, and this server speaks {SPOKEN}x; build it \
         with an SDK of that contract",
        shown(name)
    )
}

/// A name of the component's, which may be as long as its author liked.
fn shown(name: &str) -> String {
    let cut = name.char_indices().nth(MOST_CHARACTERS).map(|(at, _)| at);
    match cut.and_then(|at| name.get(..at)) {
        Some(begin) => format!("{begin:?}{}", text::CUT),
        None => format!("{name:?}"),
    }
}

fn list(mut names: impl Iterator<Item = String>) -> String {
    let mut listed: Vec<_> = names.by_ref().take(LISTED).collect();
    let more = names.count();
    if more > 0 {
        listed.push(format!("{more} more"));
    }
    listed.join(", ")
}

fn interfaces<'c>(
    types: TypesRef<'_>,
    items: impl Iterator<Item = (&'c String, &'c ComponentItem)>,
) -> BTreeMap<String, Interface> {
    let known = items.filter_map(|(name, item)| match (source(name), &item.ty) {
        (Source::Contract(name), ComponentEntityType::Instance(id)) => {
            Some((name.to_owned(), interface(types, *id)))
        }
        _ => None,
    });
    known.collect()
}

fn component<'t>(
    types: TypesRef<'t>,
    item: Option<&ComponentItem>,
) -> Option<&'t wasmparser::component_types::ComponentType> {
    match item?.ty {
        ComponentEntityType::Component(id)
        | ComponentEntityType::Type { created: ComponentAnyTypeId::Component(id), .. } => {
            types.get(id)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
