//! Whether a component is a command of WASI 0.2.

use crate::check::{Checked, Refused};
use crate::fault::{Few, Name};
use crate::offered::{INTERFACES, of_version_0_2};
use wasmparser::{
    ComponentExport, ComponentExternalKind, ComponentImport, ComponentTypeRef, Parser, Payload,
    TypeBounds,
};

/// What a command exports.
const RUN: &str = "wasi:cli/run";

/// Checks imports and exports of the outermost component.
pub(crate) fn check(wasm: &[u8]) -> Checked {
    let mut nesting = 0u32;
    let mut unknown = Few::default();
    let mut exports = Few::default();
    let mut runs = false;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => nesting += 1,
            Payload::End(_) => nesting = nesting.saturating_sub(1),
            Payload::ComponentImportSection(section) if nesting == 0 => {
                for import in section {
                    let import = import?;
                    if !is_offered(&import) {
                        unknown.add(|| Name(import.name.name).to_string());
                    }
                }
            }
            Payload::ComponentExportSection(section) if nesting == 0 => {
                for export in section {
                    let export = export?;
                    runs |= is_run(&export);
                    exports.add(|| Name(export.name.name).to_string());
                }
            }
            _ => {}
        }
    }
    if !unknown.is_empty() {
        return Err(Refused::Because(format!(
            "it imports {unknown}, which is not among what WASI 0.2 offers to commands"
        )));
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

fn is_offered(import: &ComponentImport<'_>) -> bool {
    match import.ty {
        ComponentTypeRef::Instance(_) => {
            of_version_0_2(import.name.name).is_some_and(|name| INTERFACES.contains(&name))
        }
        // Another name for a type that the component knows already.
        ComponentTypeRef::Type(TypeBounds::Eq(_)) => true,
        ComponentTypeRef::Type(TypeBounds::SubResource)
        | ComponentTypeRef::Module(_)
        | ComponentTypeRef::Func(_)
        | ComponentTypeRef::Value(_)
        | ComponentTypeRef::Component(_) => false,
    }
}

fn is_run(export: &ComponentExport<'_>) -> bool {
    export.kind == ComponentExternalKind::Instance && of_version_0_2(export.name.name) == Some(RUN)
}
