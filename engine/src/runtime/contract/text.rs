//! Types of components as text: for comparing them, and for telling people what differs.
//!
//! Names of types do not matter, as they do not to the component model: every type is written out
//! in full, up to a bound that no type of the contract reaches.

use std::collections::BTreeMap;
use std::fmt::Write;

use wasmparser::component_types::{
    ComponentDefinedType, ComponentDefinedTypeId, ComponentEntityType, ComponentInstanceTypeId,
    ComponentValType,
};
use wasmparser::types::TypesRef;

/// Bytes of one type's text, and types inside one another. Beyond them the text ends with a mark
/// that the contract's never have, so that it equals none of them.
const MOST_BYTES: usize = 4 << 10;
const MOST_DEPTH: u32 = 32;
pub(super) const CUT: &str = "…";

/// What stands under a name in an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Function {
        is_async: bool,
        parameters: Vec<(String, String)>,
        result: String,
    },
    Type(String),
    /// Something that no contract has, such as a resource.
    Other(&'static str),
}

/// An interface: its items by name.
pub(super) type Interface = BTreeMap<String, Item>;

/// The items of an instance's type.
pub(super) fn interface(types: TypesRef<'_>, instance: ComponentInstanceTypeId) -> Interface {
    let Some(instance) = types.get(instance) else { return Interface::new() };
    let items = instance.exports.iter();
    items.map(|(name, found)| (name.clone(), item(types, &found.ty))).collect()
}

fn item(types: TypesRef<'_>, entity: &ComponentEntityType) -> Item {
    use wasmparser::component_types::ComponentAnyTypeId as Any;
    match entity {
        ComponentEntityType::Func(function) => {
            let Some(function) = types.get(*function) else { return Item::Other("a function") };
            let parameters = function.params.iter();
            Item::Function {
                is_async: function.async_,
                parameters: parameters.map(|(n, ty)| (n.to_string(), text(types, *ty))).collect(),
                result: function.result.map_or_else(|| "nothing".into(), |ty| text(types, ty)),
            }
        }
        ComponentEntityType::Type { created: Any::Defined(defined), .. } => {
            Item::Type(text(types, ComponentValType::Type(*defined)))
        }
        ComponentEntityType::Type { created: Any::Resource(_), .. } => Item::Other("a resource"),
        ComponentEntityType::Type { .. } => Item::Other("a type without values"),
        ComponentEntityType::Module(_) => Item::Other("a core module"),
        ComponentEntityType::Value(_) => Item::Other("a value"),
        ComponentEntityType::Instance(_) => Item::Other("an instance"),
        ComponentEntityType::Component(_) => Item::Other("a component"),
    }
}

fn text(types: TypesRef<'_>, ty: ComponentValType) -> String {
    let mut writer = Writer { types, out: String::new(), depth: 0 };
    writer.value(ty);
    if writer.out.len() > MOST_BYTES {
        let mut end = MOST_BYTES;
        while !writer.out.is_char_boundary(end) {
            end -= 1;
        }
        writer.out.truncate(end);
        writer.out.push_str(CUT);
    }
    writer.out
}

struct Writer<'a> {
    types: TypesRef<'a>,
    out: String,
    depth: u32,
}

impl Writer<'_> {
    fn value(&mut self, ty: ComponentValType) {
        if self.out.len() > MOST_BYTES {
            return;
        }
        match ty {
            ComponentValType::Primitive(primitive) => self.push(primitive),
            ComponentValType::Type(_) if self.depth >= MOST_DEPTH => self.push(CUT),
            ComponentValType::Type(id) => {
                self.depth += 1;
                self.defined(id);
                self.depth -= 1;
            }
        }
    }

    fn push(&mut self, part: impl std::fmt::Display) {
        // Writing to a string does not fail.
        let _ = write!(self.out, "{part}");
    }

    fn defined(&mut self, id: ComponentDefinedTypeId) {
        use ComponentDefinedType as Ty;
        let Some(defined) = self.types.get(id) else { return };
        match defined {
            Ty::Primitive(primitive) => self.push(primitive),
            Ty::Record(record) => {
                let fields = record.fields.iter().map(|(name, ty)| (name.as_str(), Some(*ty)));
                self.named("record", ": ", "", fields);
            }
            Ty::Variant(variant) => {
                let cases = variant.cases.iter().map(|(name, case)| (name.as_str(), case.ty));
                self.named("variant", "(", ")", cases);
            }
            Ty::Enum(cases) => {
                self.named("enum", "", "", cases.iter().map(|name| (name.as_str(), None)));
            }
            Ty::Flags(flags) => {
                self.named("flags", "", "", flags.iter().map(|name| (name.as_str(), None)));
            }
            Ty::List { element, .. } => self.of("list", &[Some(*element)]),
            Ty::FixedLengthList { element, length, .. } => {
                self.of("list", &[Some(*element)]);
                self.push(format_args!("[{length}]"));
            }
            Ty::Map { key, value, .. } => self.of("map", &[Some(*key), Some(*value)]),
            Ty::Tuple(tuple) => {
                let types: Vec<_> = tuple.types.iter().map(|ty| Some(*ty)).collect();
                self.of("tuple", &types);
            }
            Ty::Option { ty, .. } => self.of("option", &[Some(*ty)]),
            Ty::Result { ok, err, .. } => self.of("result", &[*ok, *err]),
            Ty::Own(_) => self.push("own"),
            Ty::Borrow(_) => self.push("borrow"),
            Ty::Future { ty, .. } => self.of("future", &[*ty]),
            Ty::Stream { ty, .. } => self.of("stream", &[*ty]),
        }
    }

    fn of(&mut self, what: &str, types: &[Option<ComponentValType>]) {
        self.push(what);
        for (at, ty) in types.iter().enumerate() {
            self.push(if at == 0 { "<" } else { ", " });
            match ty {
                Some(ty) => self.value(*ty),
                None => self.push("_"),
            }
        }
        self.push(">");
    }

    fn named<'n>(
        &mut self,
        what: &str,
        open: &str,
        close: &str,
        parts: impl Iterator<Item = (&'n str, Option<ComponentValType>)>,
    ) {
        self.push(what);
        for (at, (name, ty)) in parts.enumerate() {
            if self.out.len() > MOST_BYTES {
                return;
            }
            self.push(if at == 0 { " { " } else { ", " });
            self.push(name);
            if let Some(ty) = ty {
                self.push(open);
                self.value(ty);
                self.push(close);
            }
        }
        self.push(" }");
    }
}
