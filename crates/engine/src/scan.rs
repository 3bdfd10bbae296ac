//! Ordered reads of a part of a keyspace, in pages.

use std::ops::Bound;

use bytes::Bytes;

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// What to read: a range of keys, a direction, and how much at most.
///
/// A page follows another with [`Scan::after`] and the last key of the page before.
#[derive(Debug, Clone)]
pub struct Scan {
    pub(crate) start: Bound<Vec<u8>>,
    pub(crate) end: Bound<Vec<u8>>,
    pub(crate) reverse: bool,
    pub(crate) limit: usize,
    pub(crate) max_bytes: usize,
}

impl Scan {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self {
            start: Bound::Unbounded,
            end: Bound::Unbounded,
            reverse: false,
            limit: usize::MAX,
            max_bytes: usize::MAX,
        }
    }

    /// Keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let prefix = prefix.as_ref();
        Self {
            start: Bound::Included(prefix.to_vec()),
            end: prefix_end(prefix),
            ..Self::all()
        }
    }

    /// Keys from `start` (included) to `end` (excluded).
    #[must_use]
    pub fn range(start: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> Self {
        Self {
            start: Bound::Included(start.as_ref().to_vec()),
            end: Bound::Excluded(end.as_ref().to_vec()),
            ..Self::all()
        }
    }

    /// Keys from `start` (included) on.
    #[must_use]
    pub fn from(start: impl AsRef<[u8]>) -> Self {
        Self {
            start: Bound::Included(start.as_ref().to_vec()),
            ..Self::all()
        }
    }

    /// The largest key first.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// At most `n` entries.
    #[must_use]
    pub fn limit(mut self, n: usize) -> Self {
        self.limit = n;
        self
    }

    /// Stops after the entry that brings keys and values to `n` bytes.
    #[must_use]
    pub fn max_bytes(mut self, n: usize) -> Self {
        self.max_bytes = n;
        self
    }

    /// Goes on behind `key` in the direction of the scan: call it after [`Scan::reverse`].
    #[must_use]
    pub fn after(mut self, key: impl AsRef<[u8]>) -> Self {
        let bound = Bound::Excluded(key.as_ref().to_vec());
        if self.reverse {
            self.end = bound;
        } else {
            self.start = bound;
        }
        self
    }

    /// Whether no key can match: such a range must not reach the tree, which panics on it.
    pub(crate) fn is_empty(&self) -> bool {
        use Bound::{Excluded, Included, Unbounded};
        match (&self.start, &self.end) {
            (Unbounded, _) | (_, Unbounded) => false,
            (Included(a), Included(b)) => a > b,
            (Included(a) | Excluded(a), Included(b) | Excluded(b)) => a >= b,
        }
    }
}

/// The first key behind all that begin with `prefix`.
fn prefix_end(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}
