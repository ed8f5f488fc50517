//! Whether a component is a command of WASI 0.2.

use crate::check::{Checked, Refused};
use crate::fault::{Few, Name};
use crate::offered::{INTERFACES, of_version_0_2};
use std::collections::HashSet;
use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentEntityType, ComponentInstanceTypeId, ResourceId,
};
use wasmparser::types::TypesRef;
use wasmparser::{
    ComponentExport, ComponentExternalKind, ComponentTypeRef, Parser, Payload, TypeBounds,
    ValidPayload, Validator, WasmFeatures,
};

/// What a command exports.
const RUN: &str = "wasi:cli/run";

/// Checks imports and exports of the outermost component.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most sections say nothing about imports and exports, and new kinds may come"
)]
pub(crate) fn check(wasm: &[u8]) -> Checked {
    // Only the compiler knows which proposals are on; bodies of functions are its business too.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut nesting = 0u32;
    let mut imports = Vec::new();
    let mut exports = Few::default();
    let mut runs = false;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => nesting += 1,
            Payload::End(_) => nesting = nesting.saturating_sub(1),
            Payload::ComponentImportSection(section) if nesting == 0 => {
                for import in section.clone() {
                    let import = import?;
                    imports.push((import.name.name, import.ty));
                }
            }
            Payload::ComponentExportSection(section) if nesting == 0 => {
                for export in section.clone() {
                    let export = export?;
                    runs |= is_run(&export);
                    exports.add(|| Name(export.name.name).to_string());
                }
            }
            _ => {}
        }
        // The last to end is the outermost.
        if let ValidPayload::End(types) = validator.payload(&payload)?
            && nesting == 0
            && matches!(payload, Payload::End(_))
        {
            check_imports(&imports, types.as_ref())?;
        }
    }
    if runs {
        return Ok(());
    }
    let instead = if exports.is_empty() {
        "it exports nothing".to_owned()
    } else {
        format!("it exports {exports}")
    };
    Err(Refused::Because(format!(
        "it is not a command: {instead}, but no \"{RUN}@0.2.x\""
    )))
}

fn is_run(export: &ComponentExport<'_>) -> bool {
    export.kind == ComponentExternalKind::Instance && of_version_0_2(export.name.name) == Some(RUN)
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
        let is_offered = of_version_0_2(name).is_some_and(|name| INTERFACES.contains(&name));
        if must_be_offered && !is_offered {
            unknown.add(|| Name(name).to_string());
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Refused::Because(format!(
        "it imports {unknown}, which is not among what WASI 0.2 offers to commands"
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
