//! `grpc-timeout`, as the gRPC protocol over HTTP/2 writes it.

use crate::error::invalid;
use http::HeaderMap;
use std::time::Duration;
use tonic::Status;

/// The name of the header.
const HEADER: &str = "grpc-timeout";

/// The client's own limit, if it gave one.
///
/// # Errors
/// INVALID_ARGUMENT when it can't be read.
pub(crate) fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    let read = value.to_str().ok().and_then(read);
    read.map(Some).ok_or_else(|| {
        invalid(
            HEADER,
            "expected 1 to 8 digits and a unit of H, M, S, m, u, n, as 30S",
        )
    })
}

fn read(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(number * 3600),
        'M' => Duration::from_secs(number * 60),
        'S' => Duration::from_secs(number),
        'm' => Duration::from_millis(number),
        'u' => Duration::from_micros(number),
        'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_units_are_read() {
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(read("5m"), Some(Duration::from_millis(5)));
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        assert_eq!(read("5n"), Some(Duration::from_nanos(5)));
        for bad in ["", "S", "5", "123456789S", "-1S", "+1S", "5é", "5s"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
