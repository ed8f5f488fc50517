//! Where a guest begins, decided by what its module exports, its annotation and its command line, before
//! it has been started. Pure.

use hull_abi::{Entry, World};
use hull_artifact::{Exports, Function, Kind, Type, Wasi};
use std::fmt;

/// The annotation of [`World`].
const ANNOTATION: &str = "io.containerd.hull.wasm.world";
/// How many functions messages list.
const SHOWN: usize = 3;

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The module's path, for messages.
    pub(super) program: &'a str,
    /// The function that the command line names behind `#`.
    pub(super) function: Option<&'a str>,
    /// The whole command line.
    pub(super) args: &'a [String],
    /// What the annotation says.
    pub(super) world: World,
}

/// Where the guest begins.
///
/// # Errors
/// Why the module cannot be run like that, and what it has instead.
pub(super) fn choose(exports: &Exports, wanted: Wanted<'_>) -> Result<Entry, String> {
    let Exports {
        commands, servers, ..
    } = exports;
    match (wanted.function, wanted.world) {
        (Some(name), World::Http) => Err(format!(
            "a function, {name:?}, is to be called, but the annotation {ANNOTATION} says \"http\": \
             leave out one of them"
        )),
        (Some(name), World::ByExports | World::Command) => call(exports, name, wanted.args),
        (None, World::ByExports | World::Command) if !commands.is_empty() => Ok(Entry::Command),
        (None, World::ByExports | World::Http) if !servers.is_empty() => Ok(Entry::Http),
        (None, World::Command) => Err(format!(
            "the annotation {ANNOTATION} says \"command\", but it is none: {}",
            has(exports, wanted.program)
        )),
        (None, World::Http) => Err(format!(
            "the annotation {ANNOTATION} says \"http\", but it is no server of HTTP requests: {}",
            has(exports, wanted.program)
        )),
        (None, World::ByExports) => Err(match exports.kind {
            Kind::Module => format!(
                "it is not a command, having no function \"_start\" of type () -> (): {}",
                has(exports, wanted.program)
            ),
            Kind::Component => format!(
                "it is neither a command (\"wasi:cli/run\" of WASI 0.2 or 0.3) nor a server of HTTP \
                 requests (\"wasi:http/incoming-handler\" of 0.2 or \"wasi:http/handler\" of 0.3): {}",
                has(exports, wanted.program)
            ),
        }),
    }
}

/// What it can be run as instead.
fn has(exports: &Exports, program: &str) -> String {
    let versions = |versions: &[Wasi]| {
        let names: Vec<String> = versions.iter().map(ToString::to_string).collect();
        names.join(" and ")
    };
    if !exports.commands.is_empty() {
        return format!("it is a command of {}", versions(&exports.commands));
    }
    if !exports.servers.is_empty() {
        return format!("it is a server of {}", versions(&exports.servers));
    }
    let Some(first) = exports.functions().first() else {
        return "it exports no function".to_owned();
    };
    let listed = listed(exports);
    let name = shown(&first.name);
    format!("it exports {listed}; to call one, give its name as in {program}#{name}")
}

fn call(exports: &Exports, name: &str, args: &[String]) -> Result<Entry, String> {
    let Some(function) = find(exports, name)? else {
        // The runner will see.
        return Ok(Entry::Function(name.to_owned()));
    };
    let given = args.get(1..).unwrap_or_default();
    let mut types = function.params.iter().chain(&function.results);
    if let Some(untold) = types.find(|item| !item.has_text) {
        return Err(format!(
            "{} has a parameter or result that cannot be written as text ({})",
            Signature(function),
            shown(&untold.text)
        ));
    }
    if given.len() != function.params.len() {
        return Err(format!(
            "{} takes {} arguments, but {} are given",
            Signature(function),
            function.params.len(),
            given.len()
        ));
    }
    let mut pairs = function.params.iter().zip(given).enumerate();
    match pairs.find(|(_, (item, text))| !may_be(item, text)) {
        Some((index, (item, text))) => Err(format!(
            "argument {} of {} must be {}, but is {:?}",
            index + 1,
            Signature(function),
            shown(&item.text),
            shown(text)
        )),
        None => Ok(Entry::Function(function.name.clone())),
    }
}

/// The function that is meant by a name: its own, or for one in an interface a shorter one that no other
/// function could be meant by: without interface, or without the package or version of it. `None` where
/// it may be one that was not recorded.
fn find<'a>(exports: &'a Exports, name: &str) -> Result<Option<&'a Function>, String> {
    let functions = exports.functions();
    if let Some(exact) = functions.iter().find(|function| function.name == name) {
        return Ok(Some(exact));
    }
    let mut meant = functions
        .iter()
        .filter(|function| is_short_for(name, &function.name));
    match (meant.next(), meant.next()) {
        (Some(one), None) => Ok(Some(one)),
        (Some(one), Some(other)) => Err(format!(
            "{:?} may be {:?} or {:?}: give the whole name",
            shown(name),
            shown(&one.name),
            shown(&other.name)
        )),
        (None, _) if exports.more() > 0 => Ok(None),
        (None, _) => {
            let instead = if functions.is_empty() {
                "no function that could be called".to_owned()
            } else {
                listed(exports)
            };
            Err(format!(
                "it exports no function {:?}, but {instead}",
                shown(name)
            ))
        }
    }
}

/// Whether `echo`, `echoes#echo`, `lib:own/echoes#echo` or `echoes@1.0.0#echo` is short for
/// `lib:own/echoes@1.0.0#echo`.
fn is_short_for(name: &str, whole: &str) -> bool {
    let Some((interface, function)) = whole.rsplit_once('#') else {
        return false;
    };
    let Some((part, asked)) = name.rsplit_once('#') else {
        return name == function;
    };
    let unversioned = interface
        .split_once('@')
        .map_or(interface, |(name, _)| name);
    let local = |name: &str| name.rsplit_once('/').map(|(_, local)| local.to_owned());
    asked == function
        && (part == unversioned
            || local(interface).is_some_and(|local| local == part)
            || local(unversioned).is_some_and(|local| local == part))
}

/// Whether the text may be a value of the type. What takes more than a glance is for the runner.
fn may_be(item: &Type, text: &str) -> bool {
    fn is<T: std::str::FromStr>(text: &str) -> bool {
        text.parse::<T>().is_ok()
    }
    let hexadecimal = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let is_hexadecimal = |bits: u32| {
        hexadecimal
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .is_some_and(|number| number.checked_shr(bits).unwrap_or(0) == 0)
    };
    match item.text.as_str() {
        // Of core modules.
        "i32" => is::<i32>(text) || is::<u32>(text) || is_hexadecimal(32),
        "i64" => is::<i64>(text) || is::<u64>(text) || is_hexadecimal(64),
        // Of both.
        "f32" | "f64" => is::<f64>(text),
        // Of components.
        "bool" => is::<bool>(text),
        "u8" => is::<u8>(text),
        "u16" => is::<u16>(text),
        "u32" => is::<u32>(text),
        "u64" => is::<u64>(text),
        "s8" => is::<i8>(text),
        "s16" => is::<i16>(text),
        "s32" => is::<i32>(text),
        "s64" => is::<i64>(text),
        "string" => text.trim_start().starts_with('"'),
        _ => true,
    }
}

/// The first few functions.
fn listed(exports: &Exports) -> String {
    let functions = exports.functions();
    let first: Vec<String> = functions
        .iter()
        .take(SHOWN)
        .map(|function| Signature(function).to_string())
        .collect();
    let more = functions.len().saturating_sub(SHOWN);
    let more = u64::try_from(more).unwrap_or(u64::MAX) + u64::from(exports.more());
    match more {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A function as messages show it: `"add" (i32, i32) -> (i32)`.
struct Signature<'a>(&'a Function);

impl fmt::Display for Signature<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |types: &[Type]| {
            let names: Vec<String> = types.iter().take(9).map(|t| shown(&t.text)).collect();
            let cut = if types.len() > names.len() {
                ", …"
            } else {
                ""
            };
            names.join(", ") + cut
        };
        let Function {
            name,
            params,
            results,
        } = self.0;
        write!(
            f,
            "{:?} ({}) -> ({})",
            shown(name),
            list(params),
            list(results)
        )
    }
}

/// A text of the module or of the command line, cut, and without what a line must not have.
fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let plain = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    if text.chars().count() > LONGEST {
        plain.take(LONGEST).chain(['…']).collect()
    } else {
        plain.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Type {
        Type {
            text: text.to_owned(),
            has_text: !matches!(text, "resource" | "v128"),
        }
    }

    fn exports(kind: Kind, functions: &[(&str, &[&str])]) -> Exports {
        let mut exports = Exports::new(kind);
        for (name, params) in functions {
            exports.push(|| Function {
                name: (*name).to_owned(),
                params: params.iter().map(|text| item(text)).collect(),
                results: vec![item("i32")],
            });
        }
        exports
    }

    fn choose_with(exports: &Exports, line: &[&str], world: World) -> Result<Entry, String> {
        let args: Vec<String> = line.iter().map(|&arg| arg.to_owned()).collect();
        let function = args.first().and_then(|name| name.split_once('#'));
        let wanted = Wanted {
            program: "/m.wasm",
            function: function.map(|(_, function)| function),
            args: &args,
            world,
        };
        choose(exports, wanted)
    }

    fn calls(exports: &Exports, line: &[&str]) -> Result<String, String> {
        match choose_with(exports, line, World::ByExports)? {
            Entry::Function(name) => Ok(name),
            other @ (Entry::Command | Entry::Http) => panic!("{other:?}"),
        }
    }

    #[test]
    fn exports_decide_and_the_annotation_decides_between_both() {
        let mut both = Exports::new(Kind::Component);
        both.commands.push(Wasi::V0_2);
        both.servers.push(Wasi::V0_3);
        let world = |world| choose_with(&both, &["/m.wasm"], world).unwrap();
        assert_eq!(world(World::ByExports), Entry::Command);
        assert_eq!(world(World::Command), Entry::Command);
        assert_eq!(world(World::Http), Entry::Http);
        let mut server = Exports::new(Kind::Component);
        server.servers.push(Wasi::V0_2);
        let entry = choose_with(&server, &["/m.wasm"], World::ByExports);
        assert_eq!(entry, Ok(Entry::Http));
    }

    #[test]
    fn what_it_is_not_is_said_with_what_it_is() {
        let mut command = Exports::new(Kind::Module);
        command.commands.push(Wasi::Preview1);
        let mut server = Exports::new(Kind::Component);
        server.servers.extend([Wasi::V0_2, Wasi::V0_3]);
        let library = exports(Kind::Module, &[("add", &["i32"])]);
        let nothing = Exports::new(Kind::Component);
        for (exports, world, line) in [
            (
                &command,
                World::Http,
                "the annotation io.containerd.hull.wasm.world says \"http\", but it is no server of \
                 HTTP requests: it is a command of WASI preview 1",
            ),
            (
                &server,
                World::Command,
                "the annotation io.containerd.hull.wasm.world says \"command\", but it is none: it is \
                 a server of WASI 0.2 and WASI 0.3",
            ),
            (
                &library,
                World::ByExports,
                "it is not a command, having no function \"_start\" of type () -> (): it exports \
                 \"add\" (i32) -> (i32); to call one, give its name as in /m.wasm#add",
            ),
            (
                &nothing,
                World::ByExports,
                "it is neither a command (\"wasi:cli/run\" of WASI 0.2 or 0.3) nor a server of HTTP \
                 requests (\"wasi:http/incoming-handler\" of 0.2 or \"wasi:http/handler\" of 0.3): it \
                 exports no function",
            ),
        ] {
            let entry = choose_with(exports, &["/m.wasm"], world);
            assert_eq!(entry, Err(line.to_owned()));
        }
        let entry = choose_with(&library, &["/m.wasm#add", "1"], World::Http);
        assert!(entry.unwrap_err().contains("leave out one of them"));
    }

    #[test]
    fn a_function_is_found_by_any_name_that_means_one() {
        let library = exports(
            Kind::Component,
            &[
                ("echo", &[]),
                ("own:lib/a@1.0.0#echo", &[]),
                ("own:lib/a@1.0.0#one", &[]),
                ("own:lib/b#two", &[]),
                ("other:lib/b#two", &[]),
            ],
        );
        for (name, whole) in [
            ("echo", "echo"),
            ("a#echo", "own:lib/a@1.0.0#echo"),
            ("own:lib/a#echo", "own:lib/a@1.0.0#echo"),
            ("a@1.0.0#one", "own:lib/a@1.0.0#one"),
            ("own:lib/a@1.0.0#one", "own:lib/a@1.0.0#one"),
            ("one", "own:lib/a@1.0.0#one"),
            ("own:lib/b#two", "own:lib/b#two"),
        ] {
            assert_eq!(calls(&library, &[&format!("/m#{name}")]).unwrap(), whole);
        }
        let ambiguous = calls(&library, &["/m#two"]).unwrap_err();
        assert_eq!(
            ambiguous,
            "\"two\" may be \"own:lib/b#two\" or \"other:lib/b#two\": give the whole name"
        );
        assert_eq!(
            calls(&library, &["/m#lib/a#echo"]).unwrap_err(),
            "it exports no function \"lib/a#echo\", but \"echo\" () -> (i32), \
             \"own:lib/a@1.0.0#echo\" () -> (i32), \"own:lib/a@1.0.0#one\" () -> (i32) and 2 more"
        );
    }

    #[test]
    fn arguments_are_counted_and_looked_at() {
        let library = exports(
            Kind::Module,
            &[
                ("add", &["i32", "i64"]),
                ("open", &["resource"]),
                ("say", &["string"]),
            ],
        );
        assert_eq!(calls(&library, &["/m#add", "-1", "0xff"]).unwrap(), "add");
        for (line, error) in [
            (
                &["/m#add", "1"][..],
                "\"add\" (i32, i64) -> (i32) takes 2 arguments, but 1 are given",
            ),
            (
                &["/m#add", "x", "1"],
                "argument 1 of \"add\" (i32, i64) -> (i32) must be i32, but is \"x\"",
            ),
            (
                &["/m#say", "hello"],
                "argument 1 of \"say\" (string) -> (i32) must be string, but is \"hello\"",
            ),
            (
                &["/m#open", "1"],
                "\"open\" (resource) -> (i32) has a parameter or result that cannot be written as \
                 text (resource)",
            ),
        ] {
            assert_eq!(calls(&library, line).unwrap_err(), error);
        }
    }

    #[test]
    fn texts_are_judged_by_their_type() {
        for (kind, good, bad) in [
            (
                "i32",
                &["-1", "4294967295", "0xffffffff"][..],
                &["0x1ffffffff", "1.5", ""][..],
            ),
            (
                "i64",
                &["18446744073709551615", "0xffffffffffffffff"],
                &["0x", "1e3"],
            ),
            ("f32", &["1", "-1.5e3", "inf", "nan"], &["one", ""]),
            ("u8", &["255"], &["256", "-1"]),
            ("s8", &["-128"], &["128"]),
            ("bool", &["true"], &["1", "True"]),
            ("string", &["\"x\""], &["x", "'x'"]),
            ("record", &["{}", "whatever"], &[]),
        ] {
            for text in good {
                assert!(may_be(&item(kind), text), "{kind} {text:?}");
            }
            for text in bad {
                assert!(!may_be(&item(kind), text), "{kind} {text:?}");
            }
        }
    }

    #[test]
    fn a_module_cannot_disturb_the_line() {
        let name = "a\n\u{1b}[2J".to_owned() + &"x".repeat(1000);
        let library = exports(Kind::Module, &[(name.as_str(), &[])]);
        let line = choose_with(&library, &["/m.wasm"], World::ByExports).unwrap_err();
        assert!(
            !line.contains(['\n', '\u{1b}']) && line.len() < 500,
            "{line}"
        );
    }
}
