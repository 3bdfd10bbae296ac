//! Reading a request's body from a stranger: bounded in size and in time.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use tokio::time::Instant;

/// Bounds of a body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// The most bytes that are taken.
    pub max_bytes: usize,
    /// Time that every body has.
    pub grace: Duration,
    /// Bytes a second above which more time is given: a body has
    /// `grace + received / min_bytes_per_sec` in total. 0 counts as 1.
    pub min_bytes_per_sec: u32,
}

impl BodyLimits {
    /// Bounds for bodies up to `max_bytes`: 30 s, and as long as at least 1 KiB/s arrives. A
    /// satellite link is faster, a slowloris isn't.
    pub const fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            grace: Duration::from_secs(30),
            min_bytes_per_sec: 1024,
        }
    }

    fn time_for(&self, received: usize) -> Duration {
        let rate = f64::from(self.min_bytes_per_sec.max(1));
        #[allow(clippy::cast_precision_loss)]
        let earned = Duration::from_secs_f64(received as f64 / rate);
        self.grace + earned
    }
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More bytes than allowed, announced or sent (HTTP 413).
    #[error("the body is larger than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// It came too slowly (HTTP 408).
    #[error("the body did not arrive in time ({received} bytes did)")]
    Timeout {
        /// Bytes that had come.
        received: usize,
    },
    /// The peer went away or broke the framing; there is nobody to answer.
    #[error("the connection ended within the body ({received} bytes came)")]
    Disconnected {
        /// Bytes that had come.
        received: usize,
    },
}

/// Reads a whole body, in one piece without a copy when it came in one.
///
/// Memory grows with what arrives, not with what Content-Length claims.
///
/// # Errors
/// See [`BodyError`]; after any of them the connection is of no further use.
pub async fn read_body_limited<B>(body: B, limits: &BodyLimits) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
{
    let max_bytes = limits.max_bytes;
    let announced = body.size_hint().lower();
    if usize::try_from(announced).map_or(true, |announced| announced > max_bytes) {
        return Err(BodyError::TooLarge { max_bytes });
    }
    let mut body = pin!(body);
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut received = 0usize;
    // Made only when the body isn't there yet: most bodies come in the header's packet.
    let mut timer: Option<(Instant, std::pin::Pin<Box<tokio::time::Sleep>>)> = None;
    loop {
        let frame = std::future::poll_fn(|cx| {
            if let std::task::Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
                return std::task::Poll::Ready(Ok(frame));
            }
            let (_, sleep) = timer.get_or_insert_with(|| {
                let start = Instant::now();
                (
                    start,
                    Box::pin(tokio::time::sleep_until(start + limits.time_for(received))),
                )
            });
            sleep
                .as_mut()
                .poll(cx)
                .map(|()| Err(BodyError::Timeout { received }))
        })
        .await?;
        let data = match frame {
            None => break,
            Some(Err(_)) => return Err(BodyError::Disconnected { received }),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_trailers) => continue,
            },
        };
        received += data.len();
        if received > max_bytes {
            return Err(BodyError::TooLarge { max_bytes });
        }
        if let Some((start, sleep)) = timer.as_mut() {
            sleep.as_mut().reset(*start + limits.time_for(received));
        }
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            None => rest.extend_from_slice(&data),
            Some(head) => {
                rest.reserve(head.len() + data.len());
                rest.extend_from_slice(&head);
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::{BodyExt, Empty, Full, StreamBody, channel::Channel};

    fn limits(max_bytes: usize) -> BodyLimits {
        BodyLimits {
            max_bytes,
            grace: Duration::from_secs(5),
            min_bytes_per_sec: 100,
        }
    }

    #[tokio::test]
    async fn whole_and_pieces() {
        let read = read_body_limited(Full::new(Bytes::from_static(b"abc")), &limits(3)).await;
        assert_eq!(read.unwrap(), "abc");
        let read = read_body_limited(Empty::<Bytes>::new(), &limits(0)).await;
        assert_eq!(read.unwrap(), "");
        let (mut sender, body) = Channel::<Bytes>::new(8);
        for piece in ["a", "", "bc", "def"] {
            sender
                .send_data(Bytes::from_static(piece.as_bytes()))
                .await
                .unwrap();
        }
        drop(sender);
        assert_eq!(read_body_limited(body, &limits(6)).await.unwrap(), "abcdef");
    }

    #[tokio::test]
    async fn too_large_by_announcement_and_by_bytes() {
        let read = read_body_limited(Full::new(Bytes::from_static(b"abcd")), &limits(3)).await;
        assert!(matches!(read, Err(BodyError::TooLarge { max_bytes: 3 })));
        let (mut sender, body) = Channel::<Bytes>::new(8);
        sender.send_data(Bytes::from_static(b"ab")).await.unwrap();
        sender.send_data(Bytes::from_static(b"cd")).await.unwrap();
        let read = read_body_limited(body, &limits(3)).await;
        assert!(matches!(read, Err(BodyError::TooLarge { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_times_out_and_a_steady_stream_does_not() {
        let run = |bytes: usize, every: Duration| async move {
            let (mut sender, body) = Channel::<Bytes>::new(1);
            let writer = async move {
                for _ in 0..100 {
                    tokio::time::sleep(every).await;
                    if sender
                        .send_data(Bytes::from(vec![b'x'; bytes]))
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
            };
            let limits = limits(1_000_000);
            tokio::join!(read_body_limited(body, &limits), writer).0
        };
        let slow = run(1, Duration::from_secs(1)).await;
        assert!(
            matches!(slow, Err(BodyError::Timeout { received: 4..=6 })),
            "{slow:?}"
        );
        let steady = run(200, Duration::from_secs(1)).await;
        assert_eq!(steady.unwrap().len(), 20_000);
    }

    #[tokio::test]
    async fn a_broken_body_is_a_disconnect() {
        let frames = [
            Ok(http_body::Frame::data(Bytes::from_static(b"ab"))),
            Err(std::io::Error::other("reset")),
        ];
        let mut frames = frames.into_iter();
        let stream = futures_stream(move || frames.next());
        let read = read_body_limited(StreamBody::new(stream).boxed_unsync(), &limits(10)).await;
        assert!(
            matches!(read, Err(BodyError::Disconnected { received: 2 })),
            "{read:?}"
        );
    }

    fn futures_stream<T>(mut next: impl FnMut() -> Option<T>) -> impl futures::Stream<Item = T> {
        futures::stream::poll_fn(move |_| std::task::Poll::Ready(next()))
    }
}
