//! One connection request on the wire (TR-069 3.2.2.3): GET, and once more
//! with digest when the device asks for it.

use crate::answer::{self, Answer};
use crate::guard::Target;
use hearth_auth::digest::Challenge;
use secrecy::{ExposeSecret, SecretString};
use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// No head of a device's answer is longer.
const MAX_HEAD: usize = 16 * 1024;

/// User name and password towards a device.
pub struct Login {
    /// User name.
    pub username: String,
    /// Password.
    pub password: SecretString,
}

/// What a device answered in the end.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// 200 or 204.
    Accepted,
    /// 401 (with or without a login), or a challenge that is not digest.
    Credentials(&'static str),
    /// 503.
    Busy,
    /// Another status.
    Status(u16),
    /// Nothing that could be read.
    Unreadable,
}

/// Sends the request to one address.
///
/// # Errors
/// Those of the connection. The caller bounds the time.
pub async fn send(
    target: &Target,
    address: SocketAddr,
    login: Option<&Login>,
) -> io::Result<Reply> {
    let first = exchange(target, address, None).await?;
    let Some(first) = first else {
        return Ok(Reply::Unreadable);
    };
    if first.status != 401 {
        return Ok(reply(&first));
    }
    let Some(login) = login else {
        return Ok(Reply::Credentials(
            "it asks for a user and a password, and none are known",
        ));
    };
    let challenges = Challenge::parse_all(first.challenges.iter().map(String::as_str));
    // Basic would give the password away to whoever answers at that address.
    let Some(challenge) = Challenge::first_digest(&challenges) else {
        return Ok(Reply::Credentials(
            "it asks for authentication other than digest",
        ));
    };
    let password = login.password.expose_secret();
    let Ok(authorization) =
        challenge.authorization("GET", &target.path, &login.username, password, 1)
    else {
        return Ok(Reply::Credentials("its digest challenge can't be answered"));
    };
    let second = exchange(target, address, Some(&authorization)).await?;
    Ok(second.map_or(Reply::Unreadable, |answer| reply(&answer)))
}

fn reply(answer: &Answer) -> Reply {
    match answer.status {
        200 | 204 => Reply::Accepted,
        401 | 403 => Reply::Credentials("it refuses the user or the password"),
        503 => Reply::Busy,
        status => Reply::Status(status),
    }
}

/// One request on a connection of its own: many devices close after a 401, and
/// some answer a second request on the same connection never. A reset is tried
/// once more, since some servers reset when they are asked too soon.
async fn exchange(
    target: &Target,
    address: SocketAddr,
    authorization: Option<&str>,
) -> io::Result<Option<Answer>> {
    match exchange_once(target, address, authorization).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            exchange_once(target, address, authorization).await
        }
        other => other,
    }
}

async fn exchange_once(
    target: &Target,
    address: SocketAddr,
    authorization: Option<&str>,
) -> io::Result<Option<Answer>> {
    let mut stream = TcpStream::connect(address).await?;
    let mut head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: hearth\r\nConnection: close\r\n",
        target.path,
        target.host_header()
    );
    if let Some(value) = authorization {
        head.push_str("Authorization: ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut received = Vec::new();
    let mut chunk = [0; 2048];
    while received.len() < MAX_HEAD && !answer::head_is_complete(&received) {
        match stream.read(&mut chunk).await {
            Ok(0) => break,
            Ok(count) => received.extend_from_slice(&chunk[..count]),
            // After a status line a reset is an end like any other.
            Err(_) if !received.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(answer::parse(&received))
}
