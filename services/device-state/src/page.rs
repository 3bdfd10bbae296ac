//! Page tokens: where the next page begins, opaque to callers, good for the same query only.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_clients::{Error, Result};
use prost::Message;

/// What a token holds.
#[derive(Clone, PartialEq, Message)]
pub struct Token {
    /// The hash of the query that it belongs to.
    #[prost(fixed64, tag = "1")]
    query: u64,
    /// The last id, path or key of the page before.
    #[prost(string, tag = "2")]
    pub after: String,
    /// The last entry's time and id.
    #[prost(sfixed64, tag = "3")]
    pub time: i64,
    #[prost(fixed64, tag = "4")]
    pub id: u64,
}

/// A query's hash: the page's size isn't part of it.
pub fn query(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The token after a text.
pub fn after(query: u64, after: &str) -> String {
    let token = Token {
        query,
        after: after.to_owned(),
        ..Token::default()
    };
    URL_SAFE_NO_PAD.encode(token.encode_to_vec())
}

/// The token after an entry of the history.
pub fn before(query: u64, time: i64, id: u64) -> String {
    let token = Token {
        query,
        time,
        id,
        ..Token::default()
    };
    URL_SAFE_NO_PAD.encode(token.encode_to_vec())
}

/// Reads a token; `None` for the first page.
///
/// # Errors
/// It isn't one, or is another query's: names `page_token`.
pub fn read(text: &str, query: u64) -> Result<Option<Token>> {
    if text.is_empty() {
        return Ok(None);
    }
    let token = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| ())
        .and_then(|bytes| Token::decode(bytes.as_slice()).map_err(|_| ()))
        .map_err(|()| invalid("not a page token; use the one that the page before came with"))?;
    if token.query != query {
        return Err(invalid(
            "this page token belongs to another query; all but the page size must stay the same",
        ));
    }
    Ok(Some(token))
}

/// A token that can't be used.
pub fn invalid(message: &str) -> Error {
    Error::invalid("page_token", message)
}

/// A page's size: the default for 0, at most `max`.
pub fn size(asked: u32, default: usize, max: usize) -> usize {
    match usize::try_from(asked).unwrap_or(max) {
        0 => default,
        asked => asked.min(max),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_belong_to_their_query() {
        let of = query(("default", "x"));
        let token = after(of, "Device.X");
        assert_eq!(read(&token, of).unwrap().unwrap().after, "Device.X");
        assert_eq!(read("", of).unwrap(), None);
        for (bad, of) in [("!", of), ("AAAA", of), (token.as_str(), of + 1)] {
            assert_eq!(read(bad, of).unwrap_err().field, "page_token");
        }
    }
}
