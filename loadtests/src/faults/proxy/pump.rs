//! The connections of a route.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Mode;

const PIECE: usize = 16 << 10;
/// Pieces on their way in one direction, at most.
const PIECES: usize = 64;

/// Takes connections until the proxy ends.
pub(super) async fn serve(
    listener: TcpListener,
    to: SocketAddr,
    mode: watch::Receiver<Mode>,
    stop: CancellationToken,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: they come back as connections end.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let link = link(stream, to, mode.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(link));
    }
}

/// A connection from its beginning to its end.
async fn link(client: TcpStream, to: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let mut cut = mode.clone();
    let passed = async {
        passing(&mut mode).await;
        let server = TcpStream::connect(to).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        Ok::<_, std::io::Error>(server)
    };
    let server = tokio::select! {
        biased;
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => None,
        server = passed => server.ok(),
    };
    let Some(server) = server else {
        // What the client sees is what it would see of the server: a refusal.
        reset(&client);
        return;
    };
    let (mut client, mut server) = (client, server);
    let was_cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::join!(
                pump(from_client, to_server, mode.clone()),
                pump(from_server, to_client, mode.clone())
            )
        };
        tokio::select! {
            biased;
            _ = cut.wait_for(|mode| *mode == Mode::Cut) => true,
            ends = both => ends.0.is_err() || ends.1.is_err(),
        }
    };
    if was_cut {
        reset(&client);
        reset(&server);
    }
}

/// Closing it will reset it, so that nobody takes it for a proper end.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().ok();
}

/// Waits until bytes may pass; then says how late.
async fn passing(mode: &mut watch::Receiver<Mode>) -> Duration {
    match mode.wait_for(|mode| *mode != Mode::Silent).await.as_deref() {
        Ok(Mode::Delay(time)) => *time,
        _ => Duration::ZERO,
    }
}

/// Copies one direction until its end. What comes late doesn't hold up what is behind it: a slow
/// network is not a narrow one.
async fn pump(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    mode: watch::Receiver<Mode>,
) -> std::io::Result<()> {
    let (sender, pieces) = mpsc::channel(PIECES);
    tokio::try_join!(take(from, sender), give(to, pieces, mode)).map(drop)
}

/// A piece with its time; an empty one is the end.
type Piece = (Instant, Vec<u8>);

async fn take(
    mut from: impl AsyncRead + Unpin,
    pieces: mpsc::Sender<Piece>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let length = from.read(&mut buffer).await?;
        let piece = (Instant::now(), buffer[..length].to_vec());
        if pieces.send(piece).await.is_err() || length == 0 {
            return Ok(());
        }
    }
}

async fn give(
    mut to: impl AsyncWrite + Unpin,
    mut pieces: mpsc::Receiver<Piece>,
    mut mode: watch::Receiver<Mode>,
) -> std::io::Result<()> {
    while let Some((came, piece)) = pieces.recv().await {
        let delay = passing(&mut mode).await;
        if !delay.is_zero() {
            tokio::time::sleep_until(came + delay).await;
        }
        if piece.is_empty() {
            return to.shutdown().await;
        }
        to.write_all(&piece).await?;
    }
    Ok(())
}
