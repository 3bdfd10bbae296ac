//! Watches one connection for stalls, at almost no cost for a request.
//!
//! The connection's input, output and requests only set flags and counters ([`Activity`]); a timer
//! that fires a few times in a timeout looks at them ([`Watch`]). Nothing reads a clock or touches
//! a timer for a request. A limit is therefore kept with a tolerance of one interval: a connection
//! is closed between `limit` and `limit + interval` after it stalled.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What happened on a connection, written by its task and read by its [`Watch`].
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests whose response isn't complete.
    in_flight: AtomicU32,
    /// Requests seen.
    requests: AtomicU64,
    /// Grows with every read and write that moved bytes.
    progress: AtomicU64,
    /// Bytes came in since the last request ended: a header is on its way.
    in_header: AtomicBool,
    /// The last write found the peer not reading.
    write_blocked: AtomicBool,
    /// HTTP/2, where bytes between requests are no header (pings, window updates).
    http2: AtomicBool,
}

impl Activity {
    /// Notes the start of a request; its end is the guard's.
    pub(super) fn request(self: &Arc<Self>, http2: bool) -> RequestGuard {
        if http2 {
            self.http2.store(true, Relaxed);
        }
        self.requests.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        RequestGuard(self.clone())
    }
}

/// A request in flight, until its response's body is dropped.
#[derive(Debug)]
pub(super) struct RequestGuard(Arc<Activity>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.in_header.store(false, Relaxed);
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// A response's body that keeps its request in flight.
#[derive(Debug)]
pub(super) struct GuardedBody<B> {
    pub(super) body: B,
    pub(super) _guard: RequestGuard,
}

impl<B: Body + Unpin> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose reads and writes are noted.
#[derive(Debug)]
pub(super) struct WatchedIo<T> {
    pub(super) io: T,
    pub(super) activity: Arc<Activity>,
}

impl<T> WatchedIo<T> {
    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(_) => {
                self.activity.progress.fetch_add(1, Relaxed);
                self.activity.write_blocked.store(false, Relaxed);
            }
            Poll::Pending => self.activity.write_blocked.store(true, Relaxed),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WatchedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.progress.fetch_add(1, Relaxed);
            self.activity.in_header.store(true, Relaxed);
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WatchedIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What a look at a connection found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Fine,
    /// A header takes too long.
    HeaderTimeout,
    /// Nothing was asked for too long.
    Idle,
    /// The peer doesn't read its response.
    StalledWrite,
}

/// The look at a connection that is taken at every interval.
#[derive(Debug)]
pub(super) struct Watch {
    header_timeout: Duration,
    idle_timeout: Duration,
    header_since: Option<Instant>,
    progress_since: Instant,
    requests: u64,
    progress: u64,
}

impl Watch {
    pub(super) fn new(header_timeout: Duration, idle_timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            header_timeout,
            idle_timeout,
            // A fresh connection owes a request at once.
            header_since: Some(now),
            progress_since: now,
            requests: 0,
            progress: 0,
        }
    }

    /// The time between two looks.
    pub(super) fn interval(&self) -> Duration {
        (self.header_timeout.min(self.idle_timeout) / 4).max(Duration::from_millis(10))
    }

    pub(super) fn look(&mut self, activity: &Activity) -> Verdict {
        let now = Instant::now();
        let progress = activity.progress.load(Relaxed);
        if progress != self.progress {
            self.progress = progress;
            self.progress_since = now;
        }
        let requests = activity.requests.load(Relaxed);
        if requests != self.requests {
            self.requests = requests;
            self.header_since = None;
        }
        let stalled = now.duration_since(self.progress_since) >= self.idle_timeout;
        if activity.in_flight.load(Relaxed) > 0 {
            let blocked = activity.write_blocked.load(Relaxed);
            return if stalled && blocked {
                Verdict::StalledWrite
            } else {
                Verdict::Fine
            };
        }
        let header_owed =
            requests == 0 || (activity.in_header.load(Relaxed) && !activity.http2.load(Relaxed));
        if header_owed {
            let since = *self.header_since.get_or_insert(now);
            if now.duration_since(since) >= self.header_timeout {
                return Verdict::HeaderTimeout;
            }
        } else {
            self.header_since = None;
        }
        match (stalled, activity.write_blocked.load(Relaxed)) {
            (true, true) => Verdict::StalledWrite,
            (true, false) => Verdict::Idle,
            (false, _) => Verdict::Fine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(60);

    async fn look_after(watch: &mut Watch, activity: &Activity, wait: Duration) -> Verdict {
        tokio::time::sleep(wait).await;
        watch.look(activity)
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_connection_owes_a_request() {
        let activity = Activity::default();
        let mut watch = Watch::new(HEADER, IDLE);
        assert_eq!(
            look_after(&mut watch, &activity, HEADER / 2).await,
            Verdict::Fine
        );
        assert_eq!(
            look_after(&mut watch, &activity, HEADER / 2).await,
            Verdict::HeaderTimeout
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickled_header_is_not_progress_enough() {
        let activity = Arc::new(Activity::default());
        let mut watch = Watch::new(HEADER, IDLE);
        drop(activity.request(false));
        assert_eq!(watch.look(&activity), Verdict::Fine);
        let mut verdict = Verdict::Fine;
        let mut seconds = 0;
        while verdict == Verdict::Fine && seconds < 100 {
            activity.progress.fetch_add(1, Relaxed);
            activity.in_header.store(true, Relaxed);
            verdict = look_after(&mut watch, &activity, Duration::from_secs(1)).await;
            seconds += 1;
        }
        assert_eq!(verdict, Verdict::HeaderTimeout);
        assert!((10..=12).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_between_requests_and_patience_during_one() {
        let activity = Arc::new(Activity::default());
        let mut watch = Watch::new(HEADER, IDLE);
        let guard = activity.request(false);
        assert_eq!(
            look_after(&mut watch, &activity, IDLE * 5).await,
            Verdict::Fine
        );
        activity.write_blocked.store(true, Relaxed);
        assert_eq!(
            look_after(&mut watch, &activity, IDLE).await,
            Verdict::StalledWrite
        );
        activity.write_blocked.store(false, Relaxed);
        activity.progress.fetch_add(1, Relaxed);
        drop(guard);
        assert_eq!(
            look_after(&mut watch, &activity, IDLE / 2).await,
            Verdict::Fine
        );
        assert_eq!(look_after(&mut watch, &activity, IDLE).await, Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn http2_pings_are_no_header() {
        let activity = Arc::new(Activity::default());
        let mut watch = Watch::new(HEADER, IDLE);
        drop(activity.request(true));
        for _ in 0..10 {
            activity.progress.fetch_add(1, Relaxed);
            activity.in_header.store(true, Relaxed);
            let verdict = look_after(&mut watch, &activity, HEADER).await;
            assert_eq!(verdict, Verdict::Fine);
        }
    }
}
