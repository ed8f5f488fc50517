//! From the bytes of a Wasm file to those of an artifact.

use crate::check;
use crate::fault::Fault;
use hull_artifact::Kind;
use wasmtime::{Engine, OptLevel, Strategy};

/// The engine that compiles, with these proposals switched on, whose names have commas between them. What is
/// set here shapes the code only; everything that the runner must agree with is in `hull-wasm-engine`.
pub(crate) fn engine(proposals: Option<&str>) -> Result<Engine, Fault> {
    let mut config = hull_wasm_engine::config();
    for name in proposals.into_iter().flat_map(|names| names.split(',')) {
        let known = hull_wasm_engine::ON_REQUEST
            .iter()
            .find(|known| known.0 == name);
        let (_, switch_on) = known.ok_or_else(|| {
            Fault::Host(format!("{name:?} is no proposal that can be switched on"))
        })?;
        switch_on(&mut config);
    }
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_debug_verifier(false)
        .parallel_compilation(true);
    Engine::new(&config)
        .map_err(|e| Fault::Host(format!("the engine does not start: {}", chain(&e))))
}

/// Checks and compiles a Wasm file: its artifact, and behind that what it can be run as.
pub(crate) fn compile(wasm: &[u8], proposals: Option<&str>) -> Result<Vec<u8>, Fault> {
    let exports = check::check(wasm)?;
    let engine = engine(proposals)?;
    let artifact = match exports.kind {
        Kind::Module => engine.precompile_module(wasm),
        Kind::Component => engine.precompile_component(wasm),
    };
    let mut artifact = artifact.map_err(|e| Fault::Module(refusal(&chain(&e))))?;
    artifact.extend(exports.encode());
    Ok(artifact)
}

/// Why it cannot be compiled, and what to change if it is a proposal that is not switched on: the validator
/// calls it by its name.
fn refusal(why: &str) -> String {
    let names = hull_wasm_engine::ON_REQUEST.map(|(name, _)| name);
    let missing = names
        .iter()
        .find(|name| why.contains(&name.replace('-', " ")));
    let advice = missing.map_or_else(String::new, |name| {
        format!("; the annotation io.containerd.hull.wasm.features={name} switches that on")
    });
    format!("it cannot be compiled: {why}{advice}")
}

/// An error with all of its causes.
fn chain(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join(": ")
}
