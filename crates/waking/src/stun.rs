//! STUN as TR-069 Annex G uses it: Binding Requests of RFC 3489, with two attributes of TR-111's.
//! Requests that bear RFC 5389's cookie are read, too, and get its XOR-MAPPED-ADDRESS.

mod answer;
mod message;

pub use answer::{Answer, answer};
pub use message::{Error, Message};

/// UDP port of STUN.
pub const PORT: u16 = 3478;

/// Binding Request.
pub const BINDING_REQUEST: u16 = 0x0001;
/// Binding Response.
pub const BINDING_RESPONSE: u16 = 0x0101;
/// Binding Error Response.
pub const BINDING_ERROR: u16 = 0x0111;

/// The magic cookie by which RFC 5389 tells itself from RFC 3489.
pub const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Attribute types (RFC 3489 11.2, RFC 5389 18.2, TR-069 G.2.1.3).
pub mod attribute {
    /// The address that a request came from.
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    /// Where the answer is to go.
    pub const RESPONSE_ADDRESS: u16 = 0x0002;
    /// Asks for an answer from another address or port.
    pub const CHANGE_REQUEST: u16 = 0x0003;
    /// The address that an answer comes from.
    pub const SOURCE_ADDRESS: u16 = 0x0004;
    /// The server's other address.
    pub const CHANGED_ADDRESS: u16 = 0x0005;
    /// User name, padded with blanks to a multiple of 4.
    pub const USERNAME: u16 = 0x0006;
    /// HMAC-SHA1 of the message.
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    /// Code and reason.
    pub const ERROR_CODE: u16 = 0x0009;
    /// Types that were not understood.
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    /// Who caused an answer that goes elsewhere.
    pub const REFLECTED_FROM: u16 = 0x000b;
    /// MAPPED-ADDRESS, hidden from translators that meddle (RFC 5389).
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    /// The request comes from the socket on which UDP Connection Requests are taken.
    pub const CONNECTION_REQUEST_BINDING: u16 = 0xc001;
    /// The binding has changed since the last request.
    pub const BINDING_CHANGE: u16 = 0xc002;
}

/// The content of CONNECTION-REQUEST-BINDING: 20 bytes, a blank at the end.
pub const TR111: &[u8; 20] = b"dslforum.org/TR-111 ";
