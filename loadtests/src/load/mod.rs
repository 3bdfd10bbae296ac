//! Load scenarios: what an ACS costs, measured from outside.
//!
//! * [`idle`]: known devices that inform and have nothing done to them.
//! * [`tasks`]: reads and sets, from making a task to its end.
//! * [`crowd`]: very many connections, and very many large answers at once.
//! * [`storm`]: all devices of several tenants at once, until each is in.
//! * [`bare`]: the least a server can do for that, to measure beside an ACS.
//! * [`compare`]: both in alternation.

pub mod bare;
pub mod compare;
pub mod crowd;
pub mod dial;
pub mod idle;
mod inform;
pub mod process;
pub mod storm;
pub mod tasks;
mod wire;

/// Why a scenario can't be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not an `http` URL with a host.
    #[error("`{0}` is not an http URL")]
    Url(String),
    /// A socket, a process or a file under `/proc`.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The Inform can't be written.
    #[error("the Inform can't be written")]
    Encode(#[from] hearth_cwmp::EncodeError),
    /// The server doesn't do what the scenario needs.
    #[error("{0}")]
    Server(String),
}

pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> LoadError {
    let what = what.into();
    move |source| LoadError::Io { what, source }
}
