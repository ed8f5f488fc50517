//! From the bytes of a Wasm file to those of an artifact.

use crate::check;
use crate::fault::Fault;
use hull_artifact::Kind;
use wasmtime::{Engine, OptLevel, Strategy};

/// The engine that compiles. What is set here shapes the code only; everything that the runner must
/// agree with is in `hull-wasm-engine`.
pub(crate) fn engine() -> Result<Engine, Fault> {
    let mut config = hull_wasm_engine::config();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_debug_verifier(false)
        .parallel_compilation(true);
    Engine::new(&config)
        .map_err(|e| Fault::Host(format!("the engine does not start: {}", chain(&e))))
}

/// Checks and compiles a Wasm file: its artifact, and behind that what it can be run as.
pub(crate) fn compile(wasm: &[u8]) -> Result<Vec<u8>, Fault> {
    let exports = check::check(wasm)?;
    let engine = engine()?;
    let artifact = match exports.kind {
        Kind::Module => engine.precompile_module(wasm),
        Kind::Component => engine.precompile_component(wasm),
    };
    let mut artifact =
        artifact.map_err(|e| Fault::Module(format!("it cannot be compiled: {}", chain(&e))))?;
    artifact.extend(exports.encode());
    Ok(artifact)
}

/// An error with all of its causes.
fn chain(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join(": ")
}
