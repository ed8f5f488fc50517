//! What a component can be run as: a command or a server of HTTP requests of WASI 0.2 or 0.3, or its
//! functions.

use crate::check::{Checked, Refused};
use crate::fault::{Few, Name};
use crate::offered::{HANDLER_0_2, HANDLER_0_3, RUN, Version, is_offered};
use crate::value_types;
use hull_artifact::{Exports, Function, Kind, Wasi};
use std::collections::HashSet;
use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentEntityType, ComponentFuncTypeId, ComponentInstanceTypeId,
    ResourceId,
};
use wasmparser::types::TypesRef;
use wasmparser::{
    ComponentTypeRef, Parser, Payload, TypeBounds, ValidPayload, Validator, WasmFeatures,
};

/// Checks imports and exports of the outermost component.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most sections say nothing about imports and exports, and new kinds may come"
)]
pub(crate) fn check(wasm: &[u8]) -> Result<Exports, Refused> {
    // Only the compiler knows which proposals are on; bodies of functions are its business too.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut nesting = 0u32;
    let mut ended = false;
    let mut imports = Vec::new();
    let mut exports = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => nesting += 1,
            Payload::End(_) => match nesting.checked_sub(1) {
                Some(outer) => nesting = outer,
                None => ended = true,
            },
            Payload::ComponentImportSection(section) if nesting == 0 => {
                for import in section.clone() {
                    let import = import?;
                    imports.push((import.name.name, import.ty));
                }
            }
            Payload::ComponentExportSection(section) if nesting == 0 => {
                for export in section.clone() {
                    exports.push(export?.name.name);
                }
            }
            _ => {}
        }
        if let ValidPayload::End(types) = validator.payload(&payload)?
            && ended
        {
            check_imports(&imports, types.as_ref())?;
            return read_exports(&exports, types.as_ref());
        }
    }
    Err(Refused::Invalid)
}

fn read_exports(names: &[&str], types: TypesRef<'_>) -> Result<Exports, Refused> {
    let mut exports = Exports::new(Kind::Component);
    let mut others = Few::default();
    for name in names {
        match types.component_item_for_export(name).map(|item| item.ty) {
            None => return Err(Refused::Invalid),
            Some(ComponentEntityType::Func(id)) => {
                exports.push(|| function((*name).to_owned(), id, types));
            }
            Some(ComponentEntityType::Instance(id)) => {
                read_instance(&mut exports, name, id, types);
                others.add(|| Name(name).to_string());
            }
            Some(
                ComponentEntityType::Module(_)
                | ComponentEntityType::Value(_)
                | ComponentEntityType::Type { .. }
                | ComponentEntityType::Component(_),
            ) => others.add(|| Name(name).to_string()),
        }
    }
    let runs = !exports.commands.is_empty() || !exports.servers.is_empty();
    if runs || !exports.functions().is_empty() || exports.more() > 0 {
        return Ok(exports);
    }
    let instead = if others.is_empty() {
        "it exports nothing".to_owned()
    } else {
        format!("it exports {others}, but no function")
    };
    Err(Refused::Because(format!(
        "{instead}, so that there is nothing to run"
    )))
}

/// An exported interface: one of those that we run, or a group of functions.
fn read_instance(
    exports: &mut Exports,
    name: &str,
    id: ComponentInstanceTypeId,
    types: TypesRef<'_>,
) {
    match Version::of(name) {
        Some((RUN, Version::V0_2)) => return exports.commands.push(Wasi::V0_2),
        Some((RUN, Version::V0_3)) => return exports.commands.push(Wasi::V0_3),
        Some((HANDLER_0_2, Version::V0_2)) => return exports.servers.push(Wasi::V0_2),
        Some((HANDLER_0_3, Version::V0_3)) => return exports.servers.push(Wasi::V0_3),
        Some(_) | None => {}
    }
    let functions = types.get(id).into_iter().flat_map(|it| &it.exports);
    for (inner, item) in functions {
        if let ComponentEntityType::Func(id) = item.ty {
            exports.push(|| function(format!("{name}#{inner}"), id, types));
        }
    }
}

fn function(name: String, id: ComponentFuncTypeId, types: TypesRef<'_>) -> Function {
    let (params, results) = value_types::of_function(id, types);
    Function {
        name,
        params,
        results,
    }
}

fn check_imports(imports: &[(&str, ComponentTypeRef)], types: TypesRef<'_>) -> Checked {
    let mut unknown = Few::default();
    let mut resources = HashSet::new();
    for (name, declared) in imports {
        let must_be_offered = match declared {
            ComponentTypeRef::Instance(_) => {
                let item = types.component_item_for_import(name).map(|item| item.ty);
                let Some(ComponentEntityType::Instance(instance)) = item else {
                    return Err(Refused::Invalid);
                };
                must_be_implemented(instance, types, &mut resources)
            }
            // Another name for a type that the component knows already.
            ComponentTypeRef::Type(TypeBounds::Eq(_)) => false,
            ComponentTypeRef::Type(TypeBounds::SubResource)
            | ComponentTypeRef::Module(_)
            | ComponentTypeRef::Func(_)
            | ComponentTypeRef::Value(_)
            | ComponentTypeRef::Component(_) => true,
        };
        if must_be_offered && !is_offered(name) {
            unknown.add(|| Name(name).to_string());
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Refused::Because(format!(
        "it imports {unknown}, which is not among what WASI 0.2 and 0.3 offer here"
    )))
}

/// Whether there is anything in an interface that only a host can bring: functions, or resources
/// that no interface before it has, which `resources` lists. An interface of plain types is complete
/// as it is.
fn must_be_implemented(
    instance: ComponentInstanceTypeId,
    types: TypesRef<'_>,
    resources: &mut HashSet<ResourceId>,
) -> bool {
    let Some(instance) = types.get(instance) else {
        return true;
    };
    let mut must = false;
    for export in instance.exports.values() {
        must |= match export.ty {
            ComponentEntityType::Type {
                created: ComponentAnyTypeId::Resource(resource),
                ..
            } => resources.insert(resource.resource()),
            ComponentEntityType::Type { .. } => false,
            ComponentEntityType::Module(_)
            | ComponentEntityType::Func(_)
            | ComponentEntityType::Value(_)
            | ComponentEntityType::Instance(_)
            | ComponentEntityType::Component(_) => true,
        };
    }
    must
}
