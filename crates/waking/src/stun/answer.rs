//! The answer to a Binding Request, as a function: who asks, from where, and whether the signature
//! holds, in; a datagram out. It is never much larger than what it answers.

use super::message::address_bytes;
use super::{BINDING_ERROR, BINDING_REQUEST, BINDING_RESPONSE, COOKIE, Message, attribute};
use std::net::{IpAddr, SocketAddr};

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The binding; signed with the password, if there is one.
    Binding(Option<&'a str>),
    /// 401: come again with USERNAME and MESSAGE-INTEGRITY.
    Unauthorized,
    /// 431: the signature is wrong, or the user is not known. Which of them is not said.
    Refused,
    /// 432: a signature without a user.
    NoUsername,
}

/// The answer to `request` and where it goes. `None`: nothing is said, because it is no Binding
/// Request.
#[must_use]
pub fn answer(
    request: &Message,
    from: SocketAddr,
    here: SocketAddr,
    say: Answer<'_>,
) -> Option<(SocketAddr, Vec<u8>)> {
    if request.kind != BINDING_REQUEST {
        return None;
    }
    let error = |code, reason: &str| {
        let message = error(request, code, reason);
        Some((from, message.to_bytes()))
    };
    let password = match say {
        Answer::Binding(password) => password,
        Answer::Unauthorized => return error(401, "Unauthorized"),
        Answer::Refused => return error(431, "Integrity Check Failure"),
        Answer::NoUsername => return error(432, "Missing Username"),
    };
    let unknown = unknown(request, from);
    if !unknown.is_empty() {
        let types = unknown.iter().flat_map(|kind| kind.to_be_bytes());
        let message = self::error(request, 420, "Unknown Attribute")
            .with(attribute::UNKNOWN_ATTRIBUTES, types.collect::<Vec<u8>>());
        return Some((from, message.to_bytes()));
    }
    let mut message = Message::new(BINDING_RESPONSE, request.transaction)
        .with_address(attribute::MAPPED_ADDRESS, from);
    if request.has_cookie() {
        message = message.with(
            attribute::XOR_MAPPED_ADDRESS,
            xor(from, &request.transaction),
        );
    } else if !here.ip().is_unspecified() {
        // There is one address only: a client that looks for another learns that it is the same.
        // A socket on all addresses doesn't know which it was.
        message = message
            .with_address(attribute::SOURCE_ADDRESS, here)
            .with_address(attribute::CHANGED_ADDRESS, here);
    }
    let to = match request.address(attribute::RESPONSE_ADDRESS) {
        Some(to) => {
            message = message.with_address(attribute::REFLECTED_FROM, from);
            SocketAddr::new(from.ip(), to.port())
        }
        None => from,
    };
    let bytes = match password {
        Some(password) => message.to_signed_bytes(password),
        None => message.to_bytes(),
    };
    Some((to, bytes))
}

/// Attributes that must be understood (below 0x8000) and can't be followed here. An answer goes to
/// the asker's own address only: to another port of it, as the discovery of a binding's lifetime
/// wants (TR-069 G.2.1.2), but to nobody else.
fn unknown(request: &Message, from: SocketAddr) -> Vec<u16> {
    let own = |ip: IpAddr| ip.to_canonical() == from.ip().to_canonical();
    let refused = |(kind, value): &&(u16, Vec<u8>)| match *kind {
        attribute::USERNAME => false,
        attribute::CHANGE_REQUEST => value.last().is_none_or(|flags| flags & 0b110 != 0),
        attribute::RESPONSE_ADDRESS => {
            let to = request.address(*kind);
            to.is_none_or(|to| !own(to.ip()) || to.port() == 0)
        }
        kind => kind < 0x8000,
    };
    let mut kinds: Vec<u16> = request
        .attributes
        .iter()
        .filter(refused)
        .map(|(kind, _)| *kind)
        .collect();
    // As many as fit beside the rest in a small answer.
    kinds.truncate(2);
    kinds
}

fn error(request: &Message, code: u16, reason: &str) -> Message {
    // Class and number (RFC 3489 11.2.9); both fit a byte.
    let [class, number] = [code / 100, code % 100].map(|part| u8::try_from(part).unwrap_or(0));
    let mut content = vec![0, 0, class, number];
    content.extend(reason.as_bytes());
    content.resize(content.len().next_multiple_of(4), b' ');
    Message::new(BINDING_ERROR, request.transaction).with(attribute::ERROR_CODE, content)
}

/// RFC 5389 15.2.
fn xor(address: SocketAddr, transaction: &[u8; 16]) -> Vec<u8> {
    let mut bytes = address_bytes(address);
    for (byte, with) in bytes.iter_mut().skip(2).take(2).zip(&COOKIE) {
        *byte ^= with;
    }
    for (byte, with) in bytes.iter_mut().skip(4).zip(transaction) {
        *byte ^= with;
    }
    bytes
}
