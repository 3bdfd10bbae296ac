//! What the reflection service and the edge know of the contract: the public package, and the
//! details that come with its errors.

use hearth_proto::DESCRIPTORS;
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// The package of the public API.
pub(crate) const PACKAGE: &str = "hearth.northbound.v1";

/// The files of the public package and all that they import, and those of `google.rpc`: a client
/// that learns the API by reflection can read the details of its errors. Internal contracts are
/// left out.
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
    let mut file: Vec<_> = all.into_iter().filter(keep).collect();
    for detail in FileDescriptorSet::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)?.file {
        if !file.iter().any(|known| known.name() == detail.name()) {
            file.push(detail);
        }
    }
    Ok(FileDescriptorSet { file })
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
        let details = files
            .iter()
            .filter(|file| file.package() == "google.rpc")
            .flat_map(|file| &file.message_type);
        let details: Vec<&str> = details.map(|message| message.name()).collect();
        for detail in ["Status", "BadRequest", "ErrorInfo", "RetryInfo"] {
            assert!(details.contains(&detail), "{detail}: {details:?}");
        }
        // Nothing is imported that isn't there.
        for import in files.iter().flat_map(|file| &file.dependency) {
            assert!(names.contains(&import.as_str()), "{import}: {names:?}");
        }
        for internal in ["workflow", "devicestate", "wakeup", "hearth/files"] {
            assert!(
                !names.iter().any(|name| name.contains(internal)),
                "{names:?}"
            );
        }
    }
}
