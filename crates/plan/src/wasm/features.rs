//! Which proposals for WebAssembly a guest uses.

use hull_abi::Proposal;

/// What every guest may use, by the names that wasmtime's `-W` has for it: WebAssembly 3.0 without threads, and
/// components.
const ALWAYS_ON: [&str; 14] = [
    "bulk-memory",
    "component-model",
    "component-model-async",
    "exceptions",
    "extended-const",
    "function-references",
    "gc",
    "memory64",
    "multi-memory",
    "multi-value",
    "reference-types",
    "relaxed-simd",
    "simd",
    "tail-call",
];

/// Names with commas between them: those of proposals that are always on, which change nothing, and of such as
/// are on for who asks for them, which is what is returned.
///
/// # Errors
/// What there is instead of an unknown name.
pub fn parse(value: &str) -> Result<Vec<Proposal>, String> {
    let mut asked = Vec::new();
    for name in value.split(',') {
        match Proposal::ALL
            .iter()
            .find(|proposal| proposal.name() == name)
        {
            Some(proposal) => asked.push(*proposal),
            None if ALWAYS_ON.contains(&name) => {}
            None => {
                return Err(format!(
                    "hull has no {name:?}; always on are {}; on request {}",
                    ALWAYS_ON.join(", "),
                    Proposal::ALL.map(Proposal::name).join(", ")
                ));
            }
        }
    }
    asked.sort_unstable();
    asked.dedup();
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Proposal::{CustomPageSizes, WideArithmetic};

    #[test]
    fn what_is_always_on_changes_nothing() {
        assert_eq!(parse(&ALWAYS_ON.join(",")), Ok(vec![]));
        assert_eq!(parse("gc,wide-arithmetic"), Ok(vec![WideArithmetic]));
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let both = Ok(vec![CustomPageSizes, WideArithmetic]);
        assert_eq!(parse("custom-page-sizes,wide-arithmetic"), both);
        assert_eq!(
            parse("wide-arithmetic,custom-page-sizes,wide-arithmetic"),
            both
        );
    }

    #[test]
    fn unknown_names_are_refused_with_those_that_there_are() {
        for value in ["", "threads", "gc, simd", "gc,", "GC", "-gc", "all"] {
            let why = parse(value).unwrap_err();
            assert!(
                why.contains("no \"")
                    && why.contains("memory64")
                    && why.contains("on request custom"),
                "{why}"
            );
        }
    }

    #[test]
    fn choices_are_all_there_are() {
        let choices: Vec<String> = Proposal::choices()
            .iter()
            .map(|some| Proposal::list(some))
            .collect();
        let all = [
            "",
            "custom-page-sizes",
            "wide-arithmetic",
            "custom-page-sizes,wide-arithmetic",
        ];
        assert_eq!(choices, all);
    }
}
