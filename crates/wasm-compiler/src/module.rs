//! What a core module can be run as: a command of WASI preview 1, or its functions.

use crate::check::{Checked, Refused};
use crate::fault::{Few, Name};
use crate::preview1::{self, Signature};
use hull_artifact::{Exports, Function, Kind, Type, Wasi};
use wasmparser::{
    CompositeInnerType, ExportSectionReader, ExternalKind, FuncType, FunctionSectionReader, Import,
    ImportSectionReader, Parser, Payload, TypeRef, TypeSectionReader, ValType,
};

/// Where a command begins.
const ENTRY: &str = "_start";
/// What WASI's functions read and write.
const MEMORY: &str = "memory";

/// Checks imports and exports of a core module.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most sections say nothing about imports and exports, and new kinds may come"
)]
pub(crate) fn check(wasm: &[u8]) -> Result<Exports, Refused> {
    let mut module = Module::default();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(section) => module.read_types(section)?,
            Payload::ImportSection(section) => module.read_imports(section)?,
            Payload::FunctionSection(section) => module.read_functions(section)?,
            Payload::ExportSection(section) => module.read_exports(section)?,
            // Nothing after it is a declaration.
            Payload::CodeSectionStart { .. } => break,
            _ => {}
        }
    }
    module.check_imports()?;
    module.exports()
}

/// What the declarations of a module say.
#[derive(Default)]
struct Module {
    /// Types by index; `None` for one that is not a function's.
    types: Vec<Option<FuncType>>,
    /// Types of functions by index, imported ones first.
    functions: Vec<u32>,
    imports_wasi: bool,
    imports_older_wasi: bool,
    /// The first import whose type is not that of the function with this name.
    mistyped: Option<String>,
    unknown: Few,
    has_memory: bool,
    /// Names and functions by index, in the module's order.
    exports: Vec<(String, u32)>,
}

impl Module {
    fn read_types(&mut self, section: TypeSectionReader<'_>) -> Checked {
        for group in section {
            for sub_type in group?.into_types() {
                self.types.push(match sub_type.composite_type.inner {
                    CompositeInnerType::Func(function) => Some(function),
                    CompositeInnerType::Array(_)
                    | CompositeInnerType::Struct(_)
                    | CompositeInnerType::Cont(_) => None,
                });
            }
        }
        Ok(())
    }

    fn read_imports(&mut self, section: ImportSectionReader<'_>) -> Checked {
        for import in section.into_imports() {
            let import = import?;
            let function = match import.ty {
                TypeRef::Func(index) | TypeRef::FuncExact(index) => {
                    self.functions.push(index);
                    Some(function_type(&self.types, index)?)
                }
                TypeRef::Table(_) | TypeRef::Memory(_) | TypeRef::Global(_) | TypeRef::Tag(_) => {
                    None
                }
            };
            let offered = (import.module == preview1::MODULE)
                .then(|| preview1::signature(import.name))
                .flatten();
            match (offered, function) {
                _ if import.module == preview1::OLDER_MODULE => self.imports_older_wasi = true,
                (Some(offered), Some(function)) => {
                    self.imports_wasi = true;
                    let imported = (function.params(), function.results());
                    if self.mistyped.is_none() && imported != offered {
                        self.mistyped = Some(mistyped(&import, imported, offered));
                    }
                }
                (Some(_), None) | (None, _) => self.unknown.add(|| described(&import)),
            }
        }
        Ok(())
    }

    fn read_functions(&mut self, section: FunctionSectionReader<'_>) -> Checked {
        for index in section {
            self.functions.push(index?);
        }
        Ok(())
    }

    fn read_exports(&mut self, section: ExportSectionReader<'_>) -> Checked {
        for export in section {
            let export = export?;
            match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => {
                    self.exports.push((export.name.to_owned(), export.index));
                }
                ExternalKind::Memory => self.has_memory |= export.name == MEMORY,
                ExternalKind::Table | ExternalKind::Global | ExternalKind::Tag => {}
            }
        }
        Ok(())
    }

    fn check_imports(&self) -> Checked {
        let refuse = |why| Err(Refused::Because(why));
        if self.imports_older_wasi {
            return refuse(format!(
                "it imports {:?}, which is WASI preview 0 and is not supported",
                preview1::OLDER_MODULE
            ));
        }
        if !self.unknown.is_empty() {
            let unknown = &self.unknown;
            return refuse(format!(
                "it imports {unknown}, which WASI preview 1 does not offer"
            ));
        }
        if let Some(mistyped) = &self.mistyped {
            return refuse(mistyped.clone());
        }
        if self.exports.is_empty() {
            return refuse("it exports no function, so that there is nothing to run".to_owned());
        }
        if self.imports_wasi && !self.has_memory {
            return refuse(format!(
                "it imports WASI functions, but exports no memory {MEMORY:?}"
            ));
        }
        Ok(())
    }

    fn exports(&self) -> Result<Exports, Refused> {
        let mut exports = Exports::new(Kind::Module);
        for (name, index) in &self.exports {
            let at = usize::try_from(*index).map_err(|_| Refused::Invalid)?;
            let index = *self.functions.get(at).ok_or(Refused::Invalid)?;
            let function = function_type(&self.types, index)?;
            if name == ENTRY && function.params().is_empty() && function.results().is_empty() {
                exports.commands.push(Wasi::Preview1);
            } else {
                exports.push(|| Function {
                    name: name.clone(),
                    params: described_types(function.params()),
                    results: described_types(function.results()),
                });
            }
        }
        Ok(exports)
    }
}

fn described_types(types: &[ValType]) -> Vec<Type> {
    let described = |item: &ValType| Type {
        text: item.to_string(),
        has_text: match item {
            ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64 => true,
            ValType::V128 | ValType::Ref(_) => false,
        },
    };
    types.iter().map(described).collect()
}

/// The type of this index; a module that has none or another kind there is not valid.
fn function_type(types: &[Option<FuncType>], index: u32) -> Result<&FuncType, Refused> {
    let at = usize::try_from(index).map_err(|_| Refused::Invalid)?;
    match types.get(at) {
        Some(Some(function)) => Ok(function),
        Some(None) | None => Err(Refused::Invalid),
    }
}

/// An import as messages show it: `"env"."memory" (memory)`.
fn described(import: &Import<'_>) -> String {
    let kind = match import.ty {
        TypeRef::Func(_) | TypeRef::FuncExact(_) => ExternalKind::Func,
        TypeRef::Table(_) => ExternalKind::Table,
        TypeRef::Memory(_) => ExternalKind::Memory,
        TypeRef::Global(_) => ExternalKind::Global,
        TypeRef::Tag(_) => ExternalKind::Tag,
    };
    format!(
        "{}.{} ({})",
        Name(import.module),
        Name(import.name),
        noun(kind)
    )
}

fn noun(kind: ExternalKind) -> &'static str {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => "function",
        ExternalKind::Table => "table",
        ExternalKind::Memory => "memory",
        ExternalKind::Global => "global",
        ExternalKind::Tag => "tag",
    }
}

fn mistyped(import: &Import<'_>, imported: Signature<'_>, offered: Signature<'_>) -> String {
    format!(
        "it imports {}.{} as {}, but WASI preview 1 has it as {}",
        Name(import.module),
        Name(import.name),
        signature(imported),
        signature(offered),
    )
}

/// A type as messages show it: `(i32, i64) -> (i32)`.
fn signature((params, results): Signature<'_>) -> String {
    let list = |types: &[ValType]| {
        let names: Vec<String> = types.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    format!("({}) -> ({})", list(params), list(results))
}
