//! The functions that run in Redis.

use std::fmt::Write;

const SOURCE: &str = include_str!("queue.lua");

/// One of the functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Open,
    Claim,
    Renew,
    Close,
    Enqueue,
    Remove,
    GiveBack,
    Unpark,
    Contains,
    Peek,
    Remind,
    Due,
    DueCount,
    Depth,
    State,
    Begin,
    Restore,
    Finish,
    Probe,
}

impl Call {
    /// All, in their order.
    pub(super) const ALL: [Self; 19] = [
        Self::Open,
        Self::Claim,
        Self::Renew,
        Self::Close,
        Self::Enqueue,
        Self::Remove,
        Self::GiveBack,
        Self::Unpark,
        Self::Contains,
        Self::Peek,
        Self::Remind,
        Self::Due,
        Self::DueCount,
        Self::Depth,
        Self::State,
        Self::Begin,
        Self::Restore,
        Self::Finish,
        Self::Probe,
    ];

    /// The function's name in the library, and the label of its metric.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Claim => "claim",
            Self::Renew => "renew",
            Self::Close => "close",
            Self::Enqueue => "enqueue",
            Self::Remove => "remove",
            Self::GiveBack => "give_back",
            Self::Unpark => "unpark",
            Self::Contains => "contains",
            Self::Peek => "peek",
            Self::Remind => "remind",
            Self::Due => "due",
            Self::DueCount => "due_count",
            Self::Depth => "depth",
            Self::State => "state",
            Self::Begin => "begin",
            Self::Restore => "restore",
            Self::Finish => "finish",
            Self::Probe => "probe",
        }
    }
}

/// The library's source and its functions' full names. Its name has a hash of the source in it, so
/// that processes of two versions use one server together.
pub(super) struct Library {
    pub(super) source: String,
    functions: [String; Call::ALL.len()],
}

impl Library {
    pub(super) fn new() -> Self {
        let name = format!("hearth_queue_{:016x}", hash(SOURCE));
        Self {
            source: SOURCE.replace("@LIB@", &name),
            functions: Call::ALL.map(|call| {
                let mut function = name.clone();
                // Writing to a String can't fail.
                let _ = write!(function, "_{}", call.name());
                function
            }),
        }
    }

    pub(super) fn function(&self, call: Call) -> &str {
        &self.functions[call as usize]
    }
}

/// FNV-1a, 64 bits.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_registered() {
        let library = Library::new();
        for call in Call::ALL {
            let line = format!("register('{}', {}", call.name(), call.name());
            assert!(library.source.contains(&line), "{call:?}");
            assert!(library.function(call).ends_with(call.name()));
        }
        let registered = library.source.matches("\nregister('").count();
        assert_eq!(registered, Call::ALL.len());
        assert!(!library.source.contains("@LIB@"));
    }
}
