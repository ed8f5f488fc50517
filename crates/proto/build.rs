//! Generates Rust from `protos/` with the parser written in Rust: no protoc at build time. The
//! generator is the one that containerd-shim-protos already brings into the build.

fn main() {
    println!("cargo::rerun-if-changed=protos");
    protobuf_codegen::Codegen::new()
        .pure()
        .include("protos")
        .input("protos/runtimeoptions.proto")
        .input("protos/runctypes.proto")
        .cargo_out_dir("protos")
        .run_from_script();
}
