//! The gate: what is looked at before any compiler sees a component.
//!
//! Promises: pure, and linear in the bytes; validates with exactly the features of the engine;
//! counts everything that costs a compiler more than it costs an author, and refuses by the name
//! of the limit. Whether a component fits the contract is not decided here.

mod body;
mod limits;

use std::ops::Range;

use wasmparser::types::Types;
use wasmparser::{
    CompositeInnerType, ElementItems, Encoding, FuncValidatorAllocations, Instance, Parser,
    Payload, ValidPayload, Validator, WasmFeatures,
};

pub use limits::GateLimits;

/// Why the gate stays shut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateError {
    /// The bytes are not a WebAssembly component at all.
    NotAComponent(&'static str),
    /// They begin as one, and are not valid or use what is switched off.
    Invalid {
        /// What the validator says.
        reason: String,
        /// The byte at which it stopped.
        offset: usize,
    },
    /// It has more of something than a limit allows.
    TooMuch {
        /// The limit's name.
        limit: &'static str,
        /// At least so many there are.
        found: u64,
        /// So many may be.
        allowed: u64,
    },
}

impl std::fmt::Display for GateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAComponent(reason) => {
                write!(f, "these bytes are not a WebAssembly component: {reason}")
            }
            Self::Invalid { reason, offset } => {
                write!(f, "the component is not valid at byte {offset}: {reason}")
            }
            Self::TooMuch { limit, found, allowed } => write!(
                f,
                "the component exceeds the limit {limit}: {allowed} are allowed, and it has at \
                 least {found}"
            ),
        }
    }
}

impl std::error::Error for GateError {}

impl From<wasmparser::Error> for GateError {
    fn from(error: wasmparser::Error) -> Self {
        Self::Invalid { reason: error.message().to_owned(), offset: error.offset() }
    }
}

/// What passed the gate.
pub(super) struct Passed<'a> {
    /// The names of its imports, in their order.
    pub(super) imports: Vec<&'a str>,
    /// The names of its exports, in their order.
    pub(super) exports: Vec<&'a str>,
    /// The types of both.
    pub(super) types: Types,
}

/// Looks at a component from its first byte to its last. `memory_bytes` is what one memory of an
/// instance may have, and so what it may begin with.
pub(super) fn check<'a>(
    bytes: &'a [u8],
    features: WasmFeatures,
    limits: &GateLimits,
    memory_bytes: usize,
) -> Result<Passed<'a>, GateError> {
    match bytes.get(..8) {
        Some([b'\0', b'a', b's', b'm', _, _, 0, 0]) => {
            return Err(GateError::NotAComponent(
                "they are a core module; `factum build` makes a component of it",
            ));
        }
        Some([b'\0', b'a', b's', b'm', ..]) => {}
        _ => return Err(GateError::NotAComponent("they do not begin as WebAssembly does")),
    }
    let mut walk = Walk {
        limits,
        memory_bytes: number(memory_bytes),
        left: *limits,
        validator: Validator::new_with_features(features),
        allocations: FuncValidatorAllocations::default(),
        depth: 0,
        imports: Vec::new(),
        exports: Vec::new(),
    };
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut types = None;
    for payload in parser.parse_all(bytes) {
        if let Some(end) = walk.payload(&payload?)? {
            types = Some(end);
        }
    }
    // The last end is the outermost one.
    let types = types.ok_or(GateError::NotAComponent("they end before its end"))?;
    Ok(Passed { imports: walk.imports, exports: walk.exports, types })
}

/// How far a look has come.
struct Walk<'l, 'a> {
    limits: &'l GateLimits,
    memory_bytes: u64,
    /// What is left of those limits that count the whole component.
    left: GateLimits,
    validator: Validator,
    allocations: FuncValidatorAllocations,
    depth: u64,
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
}

/// One limit among all, to be read and to be used up.
type Field = fn(&mut GateLimits) -> &mut u64;

impl<'a> Walk<'_, 'a> {
    /// Uses up some of what the whole component may have.
    fn take(&mut self, limit: &'static str, field: Field, count: u64) -> Result<(), GateError> {
        let left = field(&mut self.left);
        if let Some(rest) = left.checked_sub(count) {
            *left = rest;
            return Ok(());
        }
        let left = *left;
        let mut limits = *self.limits;
        let allowed = *field(&mut limits);
        let found = (allowed - left).saturating_add(count);
        Err(GateError::TooMuch { limit, found, allowed })
    }

    fn payload(&mut self, payload: &Payload<'a>) -> Result<Option<Types>, GateError> {
        self.count(payload)?;
        match self.validator.payload(payload)? {
            ValidPayload::Func(function, body) => self.body(function, &body)?,
            ValidPayload::End(types) => {
                self.depth = self.depth.saturating_sub(1);
                return Ok(Some(types));
            }
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
        if self.depth == 1 {
            self.remember(payload)?;
        }
        Ok(None)
    }

    /// Counts before the validator looks, so that it never works on what is refused anyway.
    fn count(&mut self, payload: &Payload<'a>) -> Result<(), GateError> {
        use Payload as P;
        match payload {
            P::Version { encoding, .. } => {
                self.depth += 1;
                at_most("component_depth", self.depth, self.limits.component_depth)?;
                match encoding {
                    Encoding::Module => self.take("core_modules", |l| &mut l.core_modules, 1),
                    Encoding::Component => self.take("components", |l| &mut l.components, 1),
                }
            }
            P::TypeSection(section) => self.types(section),
            P::CoreTypeSection(section) => self.type_bytes(&section.range()),
            P::ComponentTypeSection(section) => self.type_bytes(&section.range()),
            P::ImportSection(section) => {
                let imports = section.clone().into_imports();
                imports.into_iter().try_for_each(|import| {
                    self.import(&import?.ty)?;
                    self.take("imports", |l| &mut l.imports, 1)
                })
            }
            P::ComponentImportSection(section) => {
                self.take("imports", |l| &mut l.imports, section.count().into())
            }
            P::ExportSection(section) => {
                self.take("exports", |l| &mut l.exports, section.count().into())
            }
            P::ComponentExportSection(section) => {
                self.take("exports", |l| &mut l.exports, section.count().into())
            }
            P::FunctionSection(section) => {
                self.take("functions", |l| &mut l.functions, section.count().into())
            }
            P::ComponentCanonicalSection(section) => {
                self.take("functions", |l| &mut l.functions, section.count().into())
            }
            P::GlobalSection(section) => {
                self.take("globals", |l| &mut l.globals, section.count().into())
            }
            P::TableSection(section) => {
                self.take("tables", |l| &mut l.tables, section.count().into())?;
                section.clone().into_iter().try_for_each(|table| self.table(&table?.ty))
            }
            P::MemorySection(section) => {
                self.take("tables", |l| &mut l.tables, section.count().into())?;
                section.clone().into_iter().try_for_each(|memory| self.memory(&memory?))
            }
            P::ElementSection(section) => self.elements(section),
            P::DataSection(section) => {
                self.take("segments", |l| &mut l.segments, section.count().into())
            }
            P::DataCountSection { count, .. } => {
                at_most("segments", (*count).into(), self.limits.segments)
            }
            P::InstanceSection(section) => self.instances(section),
            P::ComponentInstanceSection(section) => {
                self.take("instances", |l| &mut l.instances, section.count().into())
            }
            P::CustomSection(section) => {
                self.take("custom_bytes", |l| &mut l.custom_bytes, length(&section.range()))
            }
            _ => Ok(()),
        }
    }

    fn type_bytes(&mut self, range: &Range<usize>) -> Result<(), GateError> {
        self.take("type_bytes", |l| &mut l.type_bytes, length(range))
    }

    fn types(&mut self, section: &wasmparser::TypeSectionReader<'a>) -> Result<(), GateError> {
        self.type_bytes(&section.range())?;
        for group in section.clone() {
            for ty in group?.types() {
                if let CompositeInnerType::Func(function) = &ty.composite_type.inner {
                    let most = function.params().len().max(function.results().len());
                    at_most("parameters", number(most), self.limits.parameters)?;
                }
            }
        }
        Ok(())
    }

    fn import(&self, ty: &wasmparser::TypeRef) -> Result<(), GateError> {
        match ty {
            wasmparser::TypeRef::Table(table) => self.table(table),
            wasmparser::TypeRef::Memory(memory) => self.memory(memory),
            _ => Ok(()),
        }
    }

    fn table(&self, table: &wasmparser::TableType) -> Result<(), GateError> {
        at_most("table_elements", table.initial, self.limits.table_elements)
    }

    fn memory(&self, memory: &wasmparser::MemoryType) -> Result<(), GateError> {
        let page = 1_u64.checked_shl(memory.page_size_log2.unwrap_or(16)).unwrap_or(u64::MAX);
        at_most("memory_bytes", memory.initial.saturating_mul(page), self.memory_bytes)
    }

    fn elements(
        &mut self,
        section: &wasmparser::ElementSectionReader<'a>,
    ) -> Result<(), GateError> {
        self.take("segments", |l| &mut l.segments, section.count().into())?;
        for element in section.clone() {
            let count = match element?.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            self.take("segment_elements", |l| &mut l.segment_elements, count.into())?;
        }
        Ok(())
    }

    fn instances(
        &mut self,
        section: &wasmparser::InstanceSectionReader<'a>,
    ) -> Result<(), GateError> {
        for instance in section.clone() {
            // The other kind only gives names to what is there.
            if let Instance::Instantiate { .. } = instance? {
                self.take("instances", |l| &mut l.instances, 1)?;
            }
        }
        Ok(())
    }

    /// The names of what the outermost component imports and exports.
    fn remember(&mut self, payload: &Payload<'a>) -> Result<(), GateError> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    self.imports.push(import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.exports.push(export?.name.name);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn at_most(limit: &'static str, found: u64, allowed: u64) -> Result<(), GateError> {
    if found > allowed { Err(GateError::TooMuch { limit, found, allowed }) } else { Ok(()) }
}

fn length(range: &Range<usize>) -> u64 {
    number(range.len())
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod fuzz;
