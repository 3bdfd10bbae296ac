//! What the decoder put right while it read an envelope.
//!
//! Every count is a deviation from TR-069 or XML that was tolerated. They go to metrics by model,
//! so that an operator sees which firmware misbehaves, and to nobody's log line by line.

macro_rules! repairs {
    ($( $(#[$meta:meta])* $name:ident, )*) => {
        /// Counts of tolerated deviations in one envelope. All zero is a clean envelope.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Repairs {
            $( $(#[$meta])* pub $name: u32, )*
        }

        impl Repairs {
            /// Name and count of each kind of repair, zeros included; the names are stable and
            /// fit for metric labels.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
                [ $( (stringify!($name), self.$name), )* ].into_iter()
            }
        }
    };
}

repairs! {
    /// The body was not UTF-8 and was converted (1 for the envelope).
    charset,
    /// Byte sequences that are no text in the body's character set, replaced by U+FFFD.
    invalid_bytes,
    /// A byte order mark or other bytes stood before the first `<` (1 for the envelope).
    leading_junk,
    /// NULs or other bytes stood after the Envelope (1 for the envelope).
    trailing_junk,
    /// Control characters that XML forbids, replaced by U+FFFD.
    control_characters,
    /// `&` that starts no reference, read as itself.
    bare_ampersands,
    /// References to entities XML doesn't know, read as themselves, or to forbidden characters.
    bad_references,
    /// The envelope broke off after the message was complete (1 for the envelope).
    truncated_tail,
    /// No SOAP Header (1 for the envelope).
    missing_header,
    /// No CWMP namespace was declared; 1.0 was assumed (1 for the envelope).
    missing_namespace,
    /// Header elements whose content could not be read and was ignored.
    bad_headers,
    /// arrayType missing, or naming another count than the array has.
    array_counts,
    /// xsi:type missing on a Value.
    missing_types,
    /// xsi:type with a name that CWMP doesn't use.
    odd_types,
    /// Elements that TR-069 requires and that were absent or empty; a default was taken.
    missing_elements,
    /// Elements that TR-069 doesn't know at their place, skipped.
    unknown_elements,
    /// Names and codes with blanks around them, which were cut off.
    surrounding_blanks,
}

impl Repairs {
    /// Whether nothing had to be repaired.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// All counts together.
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, count)| u64::from(count)).sum()
    }
}
