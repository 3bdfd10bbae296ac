//! Page sizes and page tokens (AIP-158).

use crate::error::invalid;
use prost::Message;
use tonic::Status;

/// A page ends once it has so many bytes, below the 4 MiB that clients take by default; fewer
/// entries than asked for are allowed (AIP-158).
const MAX_BYTES: usize = 3 * 1024 * 1024;
/// So many entries are read in one go, so that a page does not grow far beyond [`MAX_BYTES`].
const PART: u32 = 500;

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
/// Dead letters that one call replays.
pub(crate) const REPLAYS: Pages = Pages {
    default: 100,
    max: 1000,
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

/// Reads a page of at most `size` entries in parts, up to [`MAX_BYTES`]. `fetch` takes a part's
/// size and the token before it, and gives its entries and the token after it.
pub(crate) async fn gather<T, F, R>(
    size: u32,
    mut token: String,
    fetch: F,
) -> Result<(Vec<T>, String), Status>
where
    T: Message,
    F: Fn(u32, String) -> R,
    R: Future<Output = Result<(Vec<T>, String), Status>>,
{
    let mut entries = Vec::new();
    let mut bytes = 0;
    let mut left = size;
    loop {
        let (part, next) = fetch(left.min(PART), token).await?;
        left = left.saturating_sub(u32::try_from(part.len()).unwrap_or(u32::MAX));
        bytes += part.iter().map(Message::encoded_len).sum::<usize>();
        entries.extend(part);
        if next.is_empty() || left == 0 || bytes >= MAX_BYTES {
            return Ok((entries, next));
        }
        token = next;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// 2000 entries of `length` bytes; the token is the number of the next one.
    async fn page(size: u32, length: usize) -> (usize, String) {
        let fetch = |size: u32, token: String| async move {
            let start: u32 = token.parse().unwrap_or(0);
            let end = (start + size).min(2000);
            let next = if end < 2000 {
                end.to_string()
            } else {
                String::new()
            };
            let entries: Vec<String> = (start..end).map(|_| "x".repeat(length)).collect();
            Ok((entries, next))
        };
        let (entries, next) = gather(size, String::new(), fetch).await.unwrap();
        (entries.len(), next)
    }

    #[tokio::test]
    async fn a_page_ends_by_count_by_bytes_or_by_the_end() {
        assert_eq!(page(1200, 10).await, (1200, "1200".to_owned()));
        assert_eq!(page(10_000, 10).await, (2000, String::new()));
        assert_eq!(page(10_000, 4000).await, (1000, "1000".to_owned()));
    }

    #[test]
    fn sizes_are_limited() {
        assert_eq!(RESOURCES.size(0).unwrap(), 50);
        assert_eq!(RESOURCES.size(7).unwrap(), 7);
        assert_eq!(PARAMETERS.size(i32::MAX).unwrap(), 10_000);
        assert!(HISTORY.size(-1).is_err());
    }
}
