//! Settings of the role.

use hearth_config::{ByteSize, Documented, FieldDoc, HumanDuration, Shape};
use serde::{Deserialize, Serialize};

/// Settings of the files that devices fetch and send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesConfig {
    /// The URL by which devices reach this role: `http://files.isp.example`.
    /// Empty: the host name by which the device reached the gateway.
    pub public_url: String,
    /// The port in URLs where `public_url` is empty; 0: the one listened on.
    pub public_port: u16,
    /// The largest file that the API takes.
    pub max_file_size: ByteSize,
    /// The largest file that a device may send.
    pub max_upload_size: ByteSize,
    /// The longest time between two pieces of a device's upload.
    pub upload_stall: HumanDuration,
}

impl Default for FilesConfig {
    fn default() -> Self {
        Self {
            public_url: String::new(),
            public_port: 0,
            max_file_size: ByteSize(1 << 30),
            max_upload_size: ByteSize(64 << 20),
            upload_stall: HumanDuration::secs(60),
        }
    }
}

impl Documented for FilesConfig {
    fn fields() -> Vec<FieldDoc> {
        vec![
            FieldDoc::new(
                "public_url",
                Shape::Url,
                "The URL by which devices reach the files. Empty: the host name by which the \
                 device reached the gateway, with the port of `public_port`.",
            )
            .example("\"http://files.isp.example:7567\""),
            FieldDoc::new(
                "public_port",
                Shape::Integer,
                "The port in files' URLs where `public_url` is empty; 0: the one listened on.",
            ),
            FieldDoc::new(
                "max_file_size",
                Shape::Size,
                "The largest file that the API takes.",
            ),
            FieldDoc::new(
                "max_upload_size",
                Shape::Size,
                "The largest file that a device may send.",
            ),
            FieldDoc::new(
                "upload_stall",
                Shape::Duration,
                "The longest time between two pieces of a device's upload.",
            ),
        ]
    }
    fn validate(&self) -> Vec<(String, String)> {
        if self.public_url.is_empty() || self.is_public_url_good() {
            return Vec::new();
        }
        let problem = "expected http://host[:port][/path] or https://…, or nothing";
        vec![("public_url".to_owned(), problem.to_owned())]
    }
}

impl FilesConfig {
    /// Whether files' URLs can begin with `public_url`.
    pub(crate) fn is_public_url_good(&self) -> bool {
        let Ok(uri) = self.public_url.parse::<axum::http::Uri>() else {
            return false;
        };
        matches!(
            (uri.scheme_str(), uri.host(), uri.query()),
            (Some("http" | "https"), Some(_), None)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_that_is_none_is_named() {
        let of = |public_url: &str| FilesConfig {
            public_url: public_url.to_owned(),
            ..FilesConfig::default()
        };
        for good in ["", "http://files.isp.example:7567", "https://a/b/"] {
            assert!(of(good).validate().is_empty(), "{good}");
        }
        for bad in ["not a url", "ftp://a", "files.isp.example", "http://a/?b"] {
            assert_eq!(of(bad).validate()[0].0, "public_url", "{bad}");
        }
    }
}
