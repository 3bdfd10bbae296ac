//! One STUN message, taken apart and put together.

use super::{COOKIE, TR111, attribute};
use crate::hex::{hmac_sha1, same};
use std::net::{IpAddr, SocketAddr};

/// Bytes of the header.
const HEADER: usize = 20;
/// Bytes of MESSAGE-INTEGRITY, its own header included.
const INTEGRITY: usize = 24;
/// No request of a CPE is longer.
const MAX: usize = 1280;
/// The block of HMAC-SHA1, to which RFC 3489 (11.2.8) pads what it signs.
const BLOCK: usize = 64;

/// Why bytes are no STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too short, too long, or its lengths don't fit.
    #[error("not a STUN message: its lengths don't fit")]
    Length,
    /// The first two bits are set: something else than STUN.
    #[error("not a STUN message")]
    Type,
}

/// A STUN message: its type, transaction and attributes in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `BINDING_REQUEST` and the like.
    pub kind: u16,
    /// The 16 bytes that an answer repeats. With RFC 5389 the first four are [`COOKIE`].
    pub transaction: [u8; 16],
    /// Types with their contents, without padding.
    pub attributes: Vec<(u16, Vec<u8>)>,
    /// The signature that came, and the bytes that it signs.
    signed: Option<(Vec<u8>, Vec<u8>)>,
}

impl Message {
    /// A message without attributes.
    #[must_use]
    pub const fn new(kind: u16, transaction: [u8; 16]) -> Self {
        Self {
            kind,
            transaction,
            attributes: Vec::new(),
            signed: None,
        }
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// [`Error`]. An attribute of an unknown type is kept as it came.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX {
            return Err(Error::Length);
        }
        let (header, mut rest) = bytes.split_first_chunk::<HEADER>().ok_or(Error::Length)?;
        let [k1, k2, l1, l2, transaction @ ..] = header;
        let kind = u16::from_be_bytes([*k1, *k2]);
        if kind & 0xc000 != 0 {
            return Err(Error::Type);
        }
        if usize::from(u16::from_be_bytes([*l1, *l2])) != rest.len() {
            return Err(Error::Length);
        }
        let mut message = Self::new(kind, *transaction);
        while !rest.is_empty() {
            let ([t1, t2, l1, l2], after) = rest.split_first_chunk().ok_or(Error::Length)?;
            let (kind, length) = ([*t1, *t2], usize::from(u16::from_be_bytes([*l1, *l2])));
            let kind = u16::from_be_bytes(kind);
            let value = after.get(..length).ok_or(Error::Length)?;
            if kind == attribute::MESSAGE_INTEGRITY && message.signed.is_none() {
                let before = bytes.len() - rest.len();
                let text = bytes.get(..before).ok_or(Error::Length)?;
                message.signed = Some((value.to_vec(), text.to_vec()));
            } else if message.signed.is_none() {
                message.attributes.push((kind, value.to_vec()));
            }
            // Old clients don't pad the last one.
            rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(message)
    }

    /// The content of the first attribute of a type.
    #[must_use]
    pub fn get(&self, kind: u16) -> Option<&[u8]> {
        let found = self.attributes.iter().find(|(of, _)| *of == kind);
        found.map(|(_, value)| value.as_slice())
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, kind: u16, value: impl Into<Vec<u8>>) -> Self {
        self.attributes.push((kind, value.into()));
        self
    }

    /// Adds an address (RFC 3489 11.2.1).
    #[must_use]
    pub fn with_address(self, kind: u16, address: SocketAddr) -> Self {
        let value = address_bytes(address);
        self.with(kind, value)
    }

    /// Whether RFC 5389's cookie is there.
    #[must_use]
    pub fn has_cookie(&self) -> bool {
        self.transaction.starts_with(&COOKIE)
    }

    /// An address attribute.
    #[must_use]
    pub fn address(&self, kind: u16) -> Option<SocketAddr> {
        let (head, ip) = self.get(kind)?.split_first_chunk::<4>()?;
        let [_, family, p1, p2] = *head;
        let ip: IpAddr = match family {
            1 => <[u8; 4]>::try_from(ip).ok()?.into(),
            2 => <[u8; 16]>::try_from(ip).ok()?.into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes([p1, p2])))
    }

    /// USERNAME without its padding; `None` when it is absent, empty or no text.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.get(attribute::USERNAME)?).ok()?;
        let text = text.trim_end_matches([' ', '\0']);
        (!text.is_empty()).then_some(text)
    }

    /// Whether it comes from the socket on which UDP Connection Requests are taken.
    #[must_use]
    pub fn is_connection_request_binding(&self) -> bool {
        let content = self.get(attribute::CONNECTION_REQUEST_BINDING);
        // The blank at the end is lost on some.
        content.is_some_and(|content| content.trim_ascii_end() == TR111.trim_ascii_end())
    }

    /// Whether the device says that its binding has changed.
    #[must_use]
    pub fn is_binding_change(&self) -> bool {
        self.get(attribute::BINDING_CHANGE).is_some()
    }

    /// Whether it is signed.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.signed.is_some()
    }

    /// Whether it is signed with this password (RFC 3489 11.2.8; RFC 5389 15.4 where its cookie
    /// is).
    #[must_use]
    pub fn is_signed_with(&self, password: &str) -> bool {
        let Some((given, text)) = &self.signed else {
            return false;
        };
        let key = password.as_bytes();
        let padding = vec![0; text.len().next_multiple_of(BLOCK) - text.len()];
        if same(&hmac_sha1(key, &[text, &padding]), given) {
            return true;
        }
        // RFC 5389 pads nothing, and counts as if nothing came after the signature.
        let length = text.len().saturating_sub(HEADER) + INTEGRITY;
        match (
            self.has_cookie(),
            u16::try_from(length),
            text.split_at_checked(4),
        ) {
            (true, Ok(length), Some((start, rest))) => {
                let start = start.get(..2).unwrap_or_default();
                let mac = hmac_sha1(key, &[start, &length.to_be_bytes(), rest]);
                same(&mac, given)
            }
            _ => false,
        }
    }

    /// The datagram.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.transaction);
        for (kind, value) in &self.attributes {
            put(&mut bytes, *kind, value);
        }
        set_length(&mut bytes, 0);
        bytes
    }

    /// The datagram with MESSAGE-INTEGRITY at its end.
    #[must_use]
    pub fn to_signed_bytes(&self, password: &str) -> Vec<u8> {
        let mut bytes = self.to_bytes();
        set_length(&mut bytes, INTEGRITY);
        let padding = match self.has_cookie() {
            true => Vec::new(),
            false => vec![0; bytes.len().next_multiple_of(BLOCK) - bytes.len()],
        };
        let mac = hmac_sha1(password.as_bytes(), &[&bytes, &padding]);
        put(&mut bytes, attribute::MESSAGE_INTEGRITY, &mac);
        bytes
    }
}

/// USERNAME as RFC 3489 (11.2.6) wants it: padded with blanks to a multiple of 4.
#[must_use]
pub(super) fn padded(username: &str) -> Vec<u8> {
    let mut bytes = username.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), b' ');
    bytes
}

impl Message {
    /// Adds USERNAME.
    #[must_use]
    pub fn with_username(self, username: &str) -> Self {
        self.with(attribute::USERNAME, padded(username))
    }
}

fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend(kind.to_be_bytes());
    // Nothing that is put here is near 64 KiB.
    bytes.extend(u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn set_length(bytes: &mut [u8], more: usize) {
    let length = u16::try_from(bytes.len().saturating_sub(HEADER) + more).unwrap_or(0);
    if let Some(place) = bytes.get_mut(2..4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

pub(super) fn address_bytes(address: SocketAddr) -> Vec<u8> {
    let [p1, p2] = address.port().to_be_bytes();
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => [&[0, 1, p1, p2][..], &ip.octets()].concat(),
        IpAddr::V6(ip) => [&[0, 2, p1, p2][..], &ip.octets()].concat(),
    }
}
