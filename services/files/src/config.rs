//! Settings of the role.

use serde::{Deserialize, Serialize};

/// Settings of the files that devices fetch and send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesConfig {
    /// The URL by which devices reach this role: `http://files.isp.example`.
    /// Empty: the host name by which the device reached the gateway, with the
    /// port of `public_port`.
    pub public_url: String,
    /// The port in URLs where `public_url` is empty; 0: the one listened on.
    pub public_port: u16,
    /// The largest file that the API takes, in bytes.
    pub max_file_bytes: u64,
    /// The largest file that a device may send, in bytes.
    pub max_upload_bytes: u64,
    /// The longest time between two pieces of a device's upload, in seconds.
    pub upload_stall_seconds: u64,
}

impl Default for FilesConfig {
    fn default() -> Self {
        Self {
            public_url: String::new(),
            public_port: 0,
            max_file_bytes: 1 << 30,
            max_upload_bytes: 64 << 20,
            upload_stall_seconds: 60,
        }
    }
}
