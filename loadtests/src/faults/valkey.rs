//! The commands that the harness gives to a Redis or Valkey server itself, as inline commands.

use std::io::Error;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(10);

/// The first lines of the answer.
async fn ask(at: SocketAddr, command: &str, lines: usize) -> std::io::Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect(at).await?;
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        let mut stream = BufReader::new(stream);
        let mut out = String::new();
        for _ in 0..lines {
            stream.read_line(&mut out).await?;
        }
        Ok(out)
    };
    let timeout = |_| Error::from(std::io::ErrorKind::TimedOut);
    tokio::time::timeout(LIMIT, asked).await.map_err(timeout)?
}

/// Whether it is a primary: the first part of ROLE's answer.
pub async fn is_primary(at: SocketAddr) -> bool {
    // `*3`, `$6`, `master`
    let role = ask(at, "ROLE", 3).await;
    role.is_ok_and(|role| role.contains("master"))
}

/// Deletes everything.
///
/// # Errors
/// When it isn't there, or refuses.
pub async fn flush(at: SocketAddr) -> Result<()> {
    match ask(at, "FLUSHALL", 1).await?.trim() {
        "+OK" => Ok(()),
        other => bail!("it answered `{other}`"),
    }
}

/// Takes no more: less memory than it has. What it had before, for [`allow`].
///
/// # Errors
/// When it isn't there, or refuses.
pub async fn fill(at: SocketAddr) -> Result<String> {
    // `*2`, `$9`, `maxmemory`, `$9`, `536870912`
    let told = ask(at, "CONFIG GET maxmemory", 5).await?;
    let Some(before) = told.lines().nth(4) else {
        bail!("it answered `{}`", told.trim());
    };
    allow(at, "1").await?;
    Ok(before.to_owned())
}

/// Gives it so many bytes; 0 for any number.
///
/// # Errors
/// When it isn't there, or refuses.
pub async fn allow(at: SocketAddr, bytes: &str) -> Result<()> {
    let command = format!("CONFIG SET maxmemory {bytes}");
    match ask(at, &command, 1).await?.trim() {
        "+OK" => Ok(()),
        other => bail!("it answered `{other}`"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::AsyncReadExt as _;

    async fn server(answer: &'static str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        at
    }

    #[tokio::test]
    async fn answers_are_understood() {
        let primary = server("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n").await;
        let replica = server("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n").await;
        assert!(is_primary(primary).await);
        assert!(!is_primary(replica).await);
        assert!(flush(server("+OK\r\n").await).await.is_ok());
        let refused = flush(server("-READONLY no\r\n").await).await.unwrap_err();
        assert!(refused.to_string().contains("READONLY"));
        let told = "*2\r\n$9\r\nmaxmemory\r\n$2\r\n77\r\n";
        assert!(allow(server(told).await, "0").await.is_err());
        assert!(allow(server("+OK\r\n").await, "0").await.is_ok());
    }
}
