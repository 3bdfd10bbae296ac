//! The methods that are served, from their descriptors: the labels of metrics are bounded by them.

use prost::Message;
use prost_types::FileDescriptorSet;
use std::collections::HashMap;
use std::sync::Arc;

/// How a method is treated at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One question, one answer: ends within the request timeout.
    Unary,
    /// Bytes of a file in one direction: ends within the transfer timeout.
    Transfer,
    /// Runs until the client has enough, or the process stops.
    Watch,
}

/// A method.
#[derive(Debug)]
pub(crate) struct Method {
    /// As metrics and logs call it: `DeviceService/GetDevice`.
    pub(crate) label: String,
    pub(crate) shape: Shape,
    /// Whether it is served without a token.
    pub(crate) open: bool,
}

/// All methods, by the path of their requests.
pub(crate) struct Methods {
    known: HashMap<String, Arc<Method>>,
    other: Arc<Method>,
}

impl Methods {
    /// The methods of the public API, of health and of reflection.
    pub(crate) fn new(public: &FileDescriptorSet) -> Result<Self, prost::DecodeError> {
        let mut known = HashMap::new();
        let mut add = |set: &FileDescriptorSet, open: bool| {
            for file in &set.file {
                for service in &file.service {
                    for method in &service.method {
                        // Spread: as long as a fleet takes.
                        let watch = ["Watch", "Spread"]
                            .iter()
                            .any(|long| method.name().starts_with(long))
                            || (method.client_streaming() && method.server_streaming());
                        let shape = match method.client_streaming() || method.server_streaming() {
                            _ if watch => Shape::Watch,
                            true => Shape::Transfer,
                            false => Shape::Unary,
                        };
                        let path =
                            format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        let label = format!("{}/{}", service.name(), method.name());
                        known.insert(path, Arc::new(Method { label, shape, open }));
                    }
                }
            }
        };
        add(public, false);
        add(
            &FileDescriptorSet::decode(tonic_health::pb::FILE_DESCRIPTOR_SET)?,
            true,
        );
        use tonic_reflection::pb::{v1, v1alpha};
        for reflection in [v1::FILE_DESCRIPTOR_SET, v1alpha::FILE_DESCRIPTOR_SET] {
            add(&FileDescriptorSet::decode(reflection)?, false);
        }
        let other = Arc::new(Method {
            label: "other".to_owned(),
            shape: Shape::Unary,
            open: false,
        });
        Ok(Self { known, other })
    }

    /// The method of a request's path, and whether there is one.
    pub(crate) fn find(&self, path: &str) -> (&Arc<Method>, bool) {
        match self.known.get(path) {
            Some(method) => (method, true),
            None => (&self.other, false),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn methods_have_the_shape_of_their_contract() {
        let methods = Methods::new(&crate::reflection::public().unwrap()).unwrap();
        for (path, shape, open) in [
            (
                "/hearth.northbound.v1.DeviceService/GetDevice",
                Shape::Unary,
                false,
            ),
            (
                "/hearth.northbound.v1.DeviceService/WatchDevices",
                Shape::Watch,
                false,
            ),
            (
                "/hearth.northbound.v1.TaskService/WatchTask",
                Shape::Watch,
                false,
            ),
            (
                "/hearth.northbound.v1.FileService/UploadFile",
                Shape::Transfer,
                false,
            ),
            (
                "/hearth.northbound.v1.FileService/ReadFile",
                Shape::Transfer,
                false,
            ),
            ("/grpc.health.v1.Health/Check", Shape::Unary, true),
            ("/grpc.health.v1.Health/Watch", Shape::Watch, true),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                Shape::Watch,
                false,
            ),
            (
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                Shape::Watch,
                false,
            ),
        ] {
            let (method, known) = methods.find(path);
            assert!(known, "{path}");
            assert_eq!((method.shape, method.open), (shape, open), "{path}");
        }
        assert!(
            !methods
                .find("/hearth.workflow.v1.WorkflowService/CreateTask")
                .1
        );
    }
}
