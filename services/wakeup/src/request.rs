//! One connection request on the wire (TR-069 3.2.2.3): GET, and once more
//! with digest when the device asks for it.

use crate::answer::{self, Answer};
use crate::config::BasicPolicy;
use crate::guard::Target;
use hearth_auth::{BasicCredentials, digest::Challenge};
use rustls::{ClientConfig, pki_types::ServerName};
use secrecy::{ExposeSecret, SecretString};
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// No head of a device's answer is longer.
const MAX_HEAD: usize = 16 * 1024;

/// User name and password towards a device.
pub struct Login {
    /// User name.
    pub username: String,
    /// Password.
    pub password: SecretString,
}

/// How requests are made.
pub struct Manner {
    /// For HTTPS.
    pub tls: Arc<ClientConfig>,
    /// Where Basic is answered.
    pub basic: BasicPolicy,
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
    manner: &Manner,
    target: &Target,
    address: SocketAddr,
    login: Option<&Login>,
) -> io::Result<Reply> {
    let first = exchange(manner, target, address, None).await?;
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
    let authorization = match answer_to(manner, target, &first, login) {
        Ok(authorization) => authorization,
        Err(why) => return Ok(Reply::Credentials(why)),
    };
    let second = exchange(manner, target, address, Some(&authorization)).await?;
    Ok(second.map_or(Reply::Unreadable, |answer| reply(&answer)))
}

/// The Authorization header that answers a 401.
fn answer_to(
    manner: &Manner,
    target: &Target,
    answer: &Answer,
    login: &Login,
) -> Result<SecretString, &'static str> {
    let challenges = Challenge::parse_all(answer.challenges.iter().map(String::as_str));
    let password = login.password.expose_secret();
    if let Some(challenge) = Challenge::first_digest(&challenges) {
        let answered = challenge.authorization("GET", &target.path, &login.username, password, 1);
        return answered
            .map(SecretString::from)
            .map_err(|_| "its digest challenge can't be answered");
    }
    // Basic gives the password away to whoever answers at that address.
    let asked = |c: &Challenge| matches!(c, Challenge::Basic { .. });
    let may = match manner.basic {
        BasicPolicy::Never => false,
        BasicPolicy::Https => target.secure,
        BasicPolicy::Always => true,
    };
    match (challenges.iter().any(asked), may) {
        (true, true) => Ok(BasicCredentials {
            username: login.username.clone(),
            password: login.password.clone(),
        }
        .header()),
        (true, false) => Err("it asks for Basic, which wakeup.basic does not allow"),
        (false, _) => Err("it asks for authentication other than digest"),
    }
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
/// once more, since some servers reset when they are asked too soon. A redirect
/// is a status like any other: it is never followed.
async fn exchange(
    manner: &Manner,
    target: &Target,
    address: SocketAddr,
    authorization: Option<&SecretString>,
) -> io::Result<Option<Answer>> {
    match exchange_once(manner, target, address, authorization).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            exchange_once(manner, target, address, authorization).await
        }
        other => other,
    }
}

async fn exchange_once(
    manner: &Manner,
    target: &Target,
    address: SocketAddr,
    authorization: Option<&SecretString>,
) -> io::Result<Option<Answer>> {
    let stream = TcpStream::connect(address).await?;
    if !target.secure {
        return talk(stream, target, authorization).await;
    }
    let name = ServerName::try_from(target.bare_host().to_owned());
    let name = name.map_err(|_| io::Error::other("its host name is none for TLS"))?;
    let connector = TlsConnector::from(Arc::clone(&manner.tls));
    let stream = connector.connect(name, stream).await?;
    // The future is large: many requests wait at once.
    Box::pin(talk(stream, target, authorization)).await
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    target: &Target,
    authorization: Option<&SecretString>,
) -> io::Result<Option<Answer>> {
    let mut head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: hearth\r\nConnection: close\r\n",
        target.path,
        target.host_header()
    );
    if let Some(value) = authorization {
        head.push_str("Authorization: ");
        head.push_str(value.expose_secret());
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    let mut received = Vec::new();
    let mut chunk = [0; 2048];
    while received.len() < MAX_HEAD && !answer::head_is_complete(&received) {
        match stream.read(&mut chunk).await {
            Ok(0) => break,
            Ok(count) => received.extend_from_slice(&chunk[..count]),
            // After a status line a reset is an end like any other, and so is the end of TLS
            // without a word.
            Err(_) if !received.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(answer::parse(&received))
}
