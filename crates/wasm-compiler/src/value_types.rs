//! Types of a component's functions: how messages show them, and whether their values have a text form
//! ([WAVE](https://github.com/bytecodealliance/wasm-tools/tree/main/crates/wasm-wave)).

use hull_artifact::Type;
use wasmparser::PrimitiveValType;
use wasmparser::component_types::{
    ComponentDefinedType, ComponentDefinedTypeId, ComponentFuncTypeId, ComponentValType,
};
use wasmparser::types::TypesRef;

/// Most parts of one type that are looked at. What has more counts as having no text form.
const MAX_PARTS: u32 = 10_000;
/// Deepest nesting that is looked at; the compiler takes no more either.
const MAX_DEPTH: u32 = 100;
/// Nesting that is shown.
const SHOWN_DEPTH: u32 = 3;

/// Parameters and results.
pub(crate) fn of_function(id: ComponentFuncTypeId, types: TypesRef<'_>) -> (Vec<Type>, Vec<Type>) {
    let Some(function) = types.get(id) else {
        return (Vec::new(), Vec::new());
    };
    let described = |value: &ComponentValType| described(value, types);
    (
        function
            .params
            .iter()
            .map(|(_, value)| described(value))
            .collect(),
        function.result.iter().map(described).collect(),
    )
}

fn described(value: &ComponentValType, types: TypesRef<'_>) -> Type {
    let mut reader = Reader {
        types,
        left: MAX_PARTS,
    };
    Type {
        text: text(value, types, 0),
        has_text: reader.has_text(value, 0),
    }
}

struct Reader<'a> {
    types: TypesRef<'a>,
    left: u32,
}

impl Reader<'_> {
    fn has_text(&mut self, value: &ComponentValType, depth: u32) -> bool {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || depth > MAX_DEPTH {
            return false;
        }
        match value {
            ComponentValType::Primitive(primitive) => is_plain(*primitive),
            ComponentValType::Type(id) => self.defined(*id, depth + 1),
        }
    }

    fn defined(&mut self, id: ComponentDefinedTypeId, depth: u32) -> bool {
        let types = self.types;
        let Some(defined) = types.get(id) else {
            return false;
        };
        let mut all = |mut values: &mut dyn Iterator<Item = &ComponentValType>| {
            Iterator::all(&mut values, |value| self.has_text(value, depth))
        };
        match defined {
            ComponentDefinedType::Primitive(primitive) => is_plain(*primitive),
            ComponentDefinedType::Record(record) => all(&mut record.fields.values()),
            ComponentDefinedType::Variant(variant) => {
                all(&mut variant.cases.values().filter_map(|case| case.ty.as_ref()))
            }
            ComponentDefinedType::List { element, .. }
            | ComponentDefinedType::Option { ty: element, .. } => {
                all(&mut std::iter::once(element))
            }
            ComponentDefinedType::Tuple(tuple) => all(&mut tuple.types.iter()),
            ComponentDefinedType::Result { ok, err, .. } => all(&mut ok.iter().chain(err)),
            ComponentDefinedType::Flags(_) | ComponentDefinedType::Enum(_) => true,
            ComponentDefinedType::Map { .. }
            | ComponentDefinedType::FixedLengthList { .. }
            | ComponentDefinedType::Own(_)
            | ComponentDefinedType::Borrow(_)
            | ComponentDefinedType::Future { .. }
            | ComponentDefinedType::Stream { .. } => false,
        }
    }
}

fn is_plain(primitive: PrimitiveValType) -> bool {
    !matches!(primitive, PrimitiveValType::ErrorContext)
}

/// The type as in WIT, but a name of ours for what has a name of the component's there.
fn text(value: &ComponentValType, types: TypesRef<'_>, depth: u32) -> String {
    let defined = match value {
        ComponentValType::Primitive(primitive) => return primitive.to_string(),
        ComponentValType::Type(id) => types.get(*id),
    };
    let Some(defined) = defined.filter(|_| depth < SHOWN_DEPTH) else {
        return "…".to_owned();
    };
    let inner = |value: &ComponentValType| text(value, types, depth + 1);
    let name = match defined {
        ComponentDefinedType::Primitive(primitive) => return primitive.to_string(),
        ComponentDefinedType::List { element, .. } => return format!("list<{}>", inner(element)),
        ComponentDefinedType::Option { ty, .. } => return format!("option<{}>", inner(ty)),
        ComponentDefinedType::Result { ok, err, .. } => {
            return match (ok, err) {
                (None, None) => "result".to_owned(),
                (Some(ok), None) => format!("result<{}>", inner(ok)),
                (ok, Some(err)) => {
                    let ok = ok.as_ref().map_or_else(|| "_".to_owned(), inner);
                    format!("result<{ok}, {}>", inner(err))
                }
            };
        }
        ComponentDefinedType::Tuple(tuple) => {
            const SHOWN: usize = 4;
            let mut parts: Vec<String> = tuple.types.iter().take(SHOWN).map(inner).collect();
            if tuple.types.len() > SHOWN {
                parts.push("…".to_owned());
            }
            return format!("tuple<{}>", parts.join(", "));
        }
        ComponentDefinedType::Record(_) => "record",
        ComponentDefinedType::Variant(_) => "variant",
        ComponentDefinedType::Flags(_) => "flags",
        ComponentDefinedType::Enum(_) => "enum",
        ComponentDefinedType::Map { .. } => "map",
        ComponentDefinedType::FixedLengthList { .. } => "fixed-length list",
        ComponentDefinedType::Own(_) | ComponentDefinedType::Borrow(_) => "resource",
        ComponentDefinedType::Future { .. } => "future",
        ComponentDefinedType::Stream { .. } => "stream",
    };
    name.to_owned()
}
