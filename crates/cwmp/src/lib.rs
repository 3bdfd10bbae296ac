//! CWMP, the CPE WAN Management Protocol of TR-069: its SOAP envelopes, read leniently and
//! written strictly, and the ACS side of its session. Nothing here does I/O.
//!
//! * [`decode()`] turns the body of an HTTP message into an [`Envelope`], and says in [`Repairs`]
//!   what it had to put right. Real CPEs send wrong character sets, control characters, bare
//!   ampersands, missing elements and wrong types; all of that is read.
//! * [`encode()`] writes an envelope as the Broadband Forum's schemas ask, or says which field
//!   does not fit.
//! * [`session`] is the session as one state machine: what came in, what to do, what state the
//!   session is in then. Its state packs into four bytes.
//!
//! Both sides are covered: an ACS decodes as [`Receiver::Acs`], a simulated CPE as
//! [`Receiver::Cpe`].
//!
//! ```
//! use hearth_cwmp::{decode, encode, AcsResponse, DecodeOptions, Envelope, InformResponse, Message, Receiver};
//!
//! let reply = Envelope::new(Message::AcsResponse(AcsResponse::Inform(InformResponse {
//!     max_envelopes: 1,
//! })));
//! let bytes = encode(&reply)?;
//! let read = decode(&bytes, &DecodeOptions::new(Receiver::Cpe))?;
//! assert_eq!(read.envelope, reply);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[macro_use]
mod wire;

pub mod decode;
pub mod encode;
mod event;
mod fault;
mod limits;
mod message;
mod namespace;
pub mod redact;
mod repairs;
pub mod replay;
pub mod rpc;
pub mod session;
mod time;
mod value;

pub use decode::{
    DecodeError, DecodeOptions, Decoded, Receiver, charset_parameter, decode, is_empty_post,
};
pub use encode::{CONTENT_TYPE, EncodeError, encode, encode_into};
pub use event::EventCode;
pub use fault::{Fault, FaultCode, FaultSource, SetParameterValuesFault};
pub use limits::{LimitKind, Limits};
pub use message::{
    AcsRequest, AcsResponse, CpeRequest, CpeResponse, Envelope, Message, MessageClass,
};
pub use namespace::{CwmpVersion, Namespace};
pub use repairs::Repairs;
pub use rpc::*;
pub use time::{CwmpTime, Time};
pub use value::{ParameterValue, Secret, XsdType};
