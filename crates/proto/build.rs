//! Generates Rust from `protos/` with the parser written in Rust: no protoc at build time. The
//! generator is the one that containerd-shim-protos already brings into the build.

fn main() {
    println!("cargo::rerun-if-changed=protos");
    protobuf_codegen::Codegen::new()
        .pure()
        // Nobody asks these messages about themselves, and what answers that is most of their code.
        .customize(protobuf_codegen::Customize::default().lite_runtime(true))
        .include("protos")
        .input("protos/runtimeoptions.proto")
        .input("protos/runctypes.proto")
        .input("protos/cri.proto")
        .cargo_out_dir("protos")
        .run_from_script();
}
