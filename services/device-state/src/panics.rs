//! Panics of what is done for one event, caught: the events behind it go on.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;

/// How the standard library's messages begin that go on with numbers only, up to the text that
/// they are about.
const NUMBERS: [&str; 12] = [
    "index out of bounds: the len is ",
    "range start index ",
    "range end index ",
    "slice index starts at ",
    "byte index ",
    "start byte index ",
    "end byte index ",
    "mid > len",
    "copy_from_slice: ",
    "insertion index ",
    "removal index ",
    "swap_remove index ",
];
/// What ends the numbers.
const TEXT: [char; 6] = [';', '`', '"', '\'', ':', '\n'];

/// Does it. Whatever it had half changed in memory is the caller's to forget.
///
/// # Errors
/// It panicked: the reason, with nothing of a device in it.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|payload| reason(&*payload))
}

fn reason(payload: &(dyn Any + Send)) -> String {
    let constant = payload.downcast_ref::<&'static str>().copied();
    let formatted = || payload.downcast_ref::<String>().and_then(|m| harmless(m));
    let said = constant.or_else(formatted);
    format!(
        "panicked: {}",
        said.unwrap_or("the message may hold a device's values, and is in the process's log only")
    )
}

/// What of a message was written by a programmer. One that is put together may hold anything.
fn harmless(message: &str) -> Option<&str> {
    let known = NUMBERS
        .into_iter()
        .find(|known| message.starts_with(known))?;
    let (_, rest) = message.split_at(known.len());
    let end = rest.find(TEXT).unwrap_or(rest.len());
    Some(&message[..known.len() + end])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn reason_of(work: impl Future<Output = ()>) -> String {
        caught(work).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_reason_says_what_happened_and_nothing_of_a_device() {
        let secret = std::hint::black_box("hünter2");
        assert_eq!(caught(async { 1 }).await, Ok(1));
        let constant = reason_of(async { panic!("no such thing") }).await;
        assert_eq!(constant, "panicked: no such thing");
        let index = reason_of(async { assert_ne!(secret.as_bytes()[secret.len()], 0) }).await;
        assert_eq!(
            index,
            "panicked: index out of bounds: the len is 8 but the index is 8"
        );
        let sliced = reason_of(async { assert_ne!(&secret[..2], "") }).await;
        assert!(
            sliced.contains("byte index 2 is not a char boundary"),
            "{sliced}"
        );
        let formatted = reason_of(async { panic!("bad value {secret}") }).await;
        let unwrapped = reason_of(async {
            secret.parse::<bool>().map_err(|_| secret).unwrap();
        })
        .await;
        for reason in [index, sliced, formatted, unwrapped] {
            assert!(!reason.contains("nter2"), "{reason}");
        }
    }
}
