//! How CWMP's structures stand in XML: one description of each gives its type, its reader and its
//! writer, so that the two can't drift apart.
//!
//! A field is described as `name: Type = kind("XmlName", arguments…)`, in the order of the
//! schema. The kind (a module of [`kinds`]) says how it is read, checked and written. `required`
//! marks what an envelope makes no sense without; anything else gets a default when it is absent.

pub(crate) mod lists;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod scalars;

use crate::decode::reader::{Element, Failure, XmlReader};
use crate::encode::{EncodeError, Writer};

/// The kinds of field: each module reads one, counts its absence, and writes it.
pub(crate) mod kinds {
    pub(crate) use super::lists::*;
    pub(crate) use super::scalars::*;
}

pub(crate) type Read = Result<(), Failure>;
pub(crate) type Write = Result<(), EncodeError>;

/// Absence of an element that TR-069 requires.
pub(crate) fn count_absent(xml: &mut XmlReader<'_>) {
    xml.repairs.missing_elements += 1;
}

/// Absence of an element that may be left out.
pub(crate) fn nothing_absent(_: &mut XmlReader<'_>) {}

/// A structure whose fields are child elements.
pub(crate) trait Wire: Sized {
    /// Reads the children of the element just opened, up to its end.
    fn read(xml: &mut XmlReader<'_>) -> Result<Self, Failure>;
    /// Writes the children.
    fn write(&self, out: &mut Writer<'_>) -> Result<(), EncodeError>;
}

/// What can be an item of a SOAP array.
pub(crate) trait Item: Wire {
    /// The item's element.
    const ELEMENT: &'static str;
}

/// Defines structures; see the module.
macro_rules! wire {
    ($(
        $(#[$meta:meta])*
        struct $name:ident {
            $( $(#[$field_meta:meta])*
               $field:ident: $ty:ty = $kind:ident($xml:literal $(, $arg:expr)*) $($required:ident)?,
            )*
        }
    )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty, )*
        }

        impl $crate::wire::Wire for $name {
            fn read(
                xml: &mut $crate::decode::reader::XmlReader<'_>,
            ) -> Result<Self, $crate::decode::reader::Failure> {
                let mut out = Self::default();
                $( let mut $field = false; )*
                while let Some(element) = xml.child()? {
                    match element.local() {
                        $( $xml => {
                            $crate::wire::kinds::$kind::read(xml, &element, &mut out.$field)?;
                            $field = true;
                        } )*
                        _ => xml.skip_unknown()?,
                    }
                }
                $( if !$field { wire!(@absent xml $kind $xml $($required)?); } )*
                Ok(out)
            }

            fn write(
                &self,
                out: &mut $crate::encode::Writer<'_>,
            ) -> Result<(), $crate::encode::EncodeError> {
                $( $crate::wire::kinds::$kind::write(out, $xml, &self.$field $(, $arg)*)?; )*
                Ok(())
            }
        }

        #[cfg(test)]
        impl $crate::wire::sample::Sample for $name {
            fn strategy() -> proptest::strategy::BoxedStrategy<Self> {
                use proptest::strategy::{BoxedStrategy, Strategy};
                $( let $field: BoxedStrategy<$ty> = $crate::wire::sample::$kind($($arg),*); )*
                ($( $field, )*).prop_map(|($( $field, )*)| Self { $( $field, )* }).boxed()
            }
        }
    )* };
    (@absent $xml:ident $kind:ident $name:literal) => {
        $crate::wire::kinds::$kind::absent($xml)
    };
    (@absent $xml:ident $kind:ident $name:literal required) => {
        return Err($crate::decode::reader::Failure::missing($name))
    };
}
