//! Page sizes and page tokens (AIP-158).

use crate::error::invalid;
use tonic::Status;

/// The longest page token taken: ours are far shorter.
const MAX_TOKEN: usize = 4096;

/// The limits of one list.
#[derive(Clone, Copy)]
pub(crate) struct Pages {
    default: u32,
    max: u32,
}

/// Devices, tasks, files, credentials.
pub(crate) const RESOURCES: Pages = Pages {
    default: 50,
    max: 1000,
};
/// Parameters of a device.
pub(crate) const PARAMETERS: Pages = Pages {
    default: 1000,
    max: 10_000,
};
/// Entries of a history.
pub(crate) const HISTORY: Pages = Pages {
    default: 100,
    max: 1000,
};

impl Pages {
    /// The size of the page to read: the default for 0, at most the greatest.
    pub(crate) fn size(self, asked: i32) -> Result<u32, Status> {
        match u32::try_from(asked) {
            Ok(0) => Ok(self.default),
            Ok(size) => Ok(size.min(self.max)),
            Err(_) => Err(invalid(
                "page_size",
                format!("expected 1 to {}, or 0 for {}", self.max, self.default),
            )),
        }
    }
}

/// A page token as it came: it is opaque here, and checked by who made it.
pub(crate) fn token(token: String) -> Result<String, Status> {
    if token.len() <= MAX_TOKEN {
        return Ok(token);
    }
    Err(invalid(
        "page_token",
        "expected next_page_token of the page before, as it was; leave it empty for the first page",
    ))
}
