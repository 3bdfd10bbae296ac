//! Generates messages, services and JSON forms from `proto/`, without protoc.

use prost::Message;
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for package in fs::read_dir(root.join("hearth"))? {
        for file in fs::read_dir(package?.path().join("v1"))? {
            files.push(file?.path());
        }
    }
    files.sort();
    // protox keeps comments, so that the reflection service and rustdoc have
    // them.
    let set = protox::compile(&files, [&root])?;
    let bytes = set.encode_to_vec();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), &bytes)?;
    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .bytes(".hearth.files.v1.PutFileRequest.chunk")
        .bytes(".hearth.files.v1.ReadFileResponse.chunk")
        .bytes(".hearth.internal.v1")
        .compile_fds(set)?;
    pbjson_build::Builder::new()
        .register_descriptors(&bytes)?
        .ignore_unknown_fields()
        .build(&[".hearth"])?;
    Ok(())
}
