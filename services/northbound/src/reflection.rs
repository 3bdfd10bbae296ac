//! What the reflection service and the edge know of the contract: the public package only.

use hearth_proto::DESCRIPTORS;
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// The package of the public API.
pub(crate) const PACKAGE: &str = "hearth.northbound.v1";

/// The files of the public package and all that they import; internal contracts are left out.
pub(crate) fn public() -> Result<FileDescriptorSet, prost::DecodeError> {
    let all = FileDescriptorSet::decode(DESCRIPTORS)?.file;
    let mut wanted: Vec<String> = all
        .iter()
        .filter(|file| file.package() == PACKAGE)
        .map(|file| file.name().to_owned())
        .collect();
    let mut next = 0;
    while let Some(name) = wanted.get(next).cloned() {
        next += 1;
        let file = all.iter().find(|file| file.name() == name);
        for import in file.map_or(&[][..], |file| &file.dependency) {
            if !wanted.contains(import) {
                wanted.push(import.clone());
            }
        }
    }
    let keep = |file: &FileDescriptorProto| wanted.iter().any(|name| name == file.name());
    Ok(FileDescriptorSet {
        file: all.into_iter().filter(keep).collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn internal_contracts_are_not_shown() {
        let files = public().unwrap().file;
        let names: Vec<&str> = files.iter().map(FileDescriptorProto::name).collect();
        assert!(
            names.contains(&"hearth/northbound/v1/device.proto"),
            "{names:?}"
        );
        assert!(
            names.contains(&"google/protobuf/timestamp.proto"),
            "{names:?}"
        );
        for internal in ["workflow", "devicestate", "wakeup", "hearth/files"] {
            assert!(
                !names.iter().any(|name| name.contains(internal)),
                "{names:?}"
            );
        }
    }
}
