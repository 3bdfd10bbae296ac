//! How CWMP's structures stand in XML: one description of each gives its type, its reader and its
//! writer, so that the two can't drift apart.
//!
//! A field is described as `name: Type = kind("XmlName", arguments…)`, in the order of the
//! schema. The kind (a module of [`kinds`]) says how it is read, checked and written. `required`
//! marks what an envelope makes no sense without; anything else gets a default when it is absent.

use crate::decode::reader::{Failure, XmlReader};
use crate::encode::{EncodeError, Writer};

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
    )* };
    (@absent $xml:ident $kind:ident $name:literal) => {
        $crate::wire::kinds::$kind::absent($xml)
    };
    (@absent $xml:ident $kind:ident $name:literal required) => {
        return Err($crate::decode::reader::Failure::missing($name))
    };
}

/// The kinds of field: each module reads one, counts its absence, and writes it.
pub(crate) mod kinds {
    use super::{EncodeError, Failure, Item, Wire, Writer, XmlReader};
    use crate::decode::reader::Element;

    type Read = Result<(), Failure>;
    type Write = Result<(), EncodeError>;

    /// Absence of an element that TR-069 requires.
    pub(crate) fn count_absent(xml: &mut XmlReader<'_>) {
        xml.repairs.missing_elements += 1;
    }

    /// Text taken verbatim, at most so many characters when written.
    pub(crate) mod text {
        pub(crate) use super::count_absent as absent;
        use super::*;

        pub(crate) fn read(xml: &mut XmlReader<'_>, _: &Element<'_>, field: &mut String) -> Read {
            *field = xml.text()?.into_owned();
            Ok(())
        }

        pub(crate) fn write(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &str,
            max: usize,
        ) -> Write {
            out.text_element(name, field, max)
        }
    }

    /// Text whose surrounding blanks mean nothing.
    pub(crate) mod token {
        pub(crate) use super::count_absent as absent;
        use super::*;

        pub(crate) fn read(xml: &mut XmlReader<'_>, _: &Element<'_>, field: &mut String) -> Read {
            *field = xml.token()?.into_owned();
            Ok(())
        }

        pub(crate) fn write(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &str,
            max: usize,
        ) -> Write {
            out.text_element(name, field, max)
        }
    }

    /// An OUI: six hexadecimal digits, upper case when written.
    pub(crate) mod oui {
        pub(crate) use super::token::read;
        use super::*;

        pub(crate) fn write(out: &mut Writer<'_>, name: &'static str, field: &str) -> Write {
            let hex = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
            if field.len() != 6 || !field.bytes().all(hex) {
                return Err(out.invalid(name, "six upper-case hexadecimal digits"));
            }
            out.text_element(name, field, 6)
        }
    }

    /// A path that ends in a dot.
    pub(crate) mod object {
        pub(crate) use super::token::{absent, read};
        use super::*;

        pub(crate) fn write(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &str,
            max: usize,
        ) -> Write {
            if !field.ends_with('.') {
                return Err(out.invalid(name, "a path that ends in a dot"));
            }
            out.text_element(name, field, max)
        }
    }

    /// Text that Debug must not show.
    pub(crate) mod secret {
        pub(crate) use super::count_absent as absent;
        use super::*;
        use crate::value::Secret;

        pub(crate) fn read(xml: &mut XmlReader<'_>, _: &Element<'_>, field: &mut Secret) -> Read {
            field.0 = xml.text()?.into_owned();
            Ok(())
        }

        pub(crate) fn write(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &Secret,
            max: usize,
        ) -> Write {
            out.text_element(name, field.expose(), max)
        }
    }

    /// A text that may be left out.
    pub(crate) mod opt_text {
        use super::*;

        pub(crate) fn absent(_: &mut XmlReader<'_>) {}

        pub(crate) fn read(
            xml: &mut XmlReader<'_>,
            _: &Element<'_>,
            field: &mut Option<String>,
        ) -> Read {
            *field = Some(xml.text()?.into_owned());
            Ok(())
        }

        pub(crate) fn write(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &Option<String>,
            max: usize,
        ) -> Write {
            field
                .as_deref()
                .map_or(Ok(()), |text| out.text_element(name, text, max))
        }
    }

    /// A secret text that may be left out.
    pub(crate) mod opt_secret {
        pub(crate) use super::opt_text::absent;
        use super::*;
        use crate::value::Secret;

        pub(crate) fn read(
            xml: &mut XmlReader<'_>,
            _: &Element<'_>,
            field: &mut Option<Secret>,
        ) -> Read {
            *field = Some(Secret(xml.text()?.into_owned()));
            Ok(())
        }

        pub(crate) fn write(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &Option<Secret>,
            max: usize,
        ) -> Write {
            field
                .as_ref()
                .map_or(Ok(()), |text| out.text_element(name, text.expose(), max))
        }
    }

    /// A UUID of a deployment unit; empty where `write` is told that it may be.
    pub(crate) mod uuid {
        pub(crate) use super::token::{absent, read};
        use super::*;

        pub(crate) fn write(out: &mut Writer<'_>, name: &'static str, field: &str) -> Write {
            let groups = [8, 4, 4, 4, 12];
            let mut parts = field.split('-');
            let fits = groups.iter().all(|length| {
                parts.next().is_some_and(|part| {
                    part.len() == *length && part.bytes().all(|b| b.is_ascii_hexdigit())
                })
            });
            if !fits || parts.next().is_some() {
                return Err(out.invalid(name, "a UUID of the form 8-4-4-4-12"));
            }
            out.text_element(name, field, 36)
        }
    }

    /// A UUID that may be left out.
    pub(crate) mod opt_uuid {
        pub(crate) use super::opt_text::absent;
        use super::*;

        pub(crate) fn read(
            xml: &mut XmlReader<'_>,
            _: &Element<'_>,
            field: &mut Option<String>,
        ) -> Read {
            *field = Some(xml.token()?.into_owned());
            Ok(())
        }

        pub(crate) fn write(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &Option<String>,
        ) -> Write {
            field
                .as_deref()
                .map_or(Ok(()), |text| super::uuid::write(out, name, text))
        }
    }

    /// A whole number: unsignedInt or int, within a range when written.
    pub(crate) mod number {
        pub(crate) use super::count_absent as absent;
        use super::*;
        use std::fmt::Display;
        use std::ops::RangeInclusive;
        use std::str::FromStr;

        pub(crate) fn read<T: FromStr + Default>(
            xml: &mut XmlReader<'_>,
            element: &Element<'_>,
            field: &mut T,
        ) -> Read {
            let text = xml.text()?;
            let text = text.trim();
            if text.is_empty() {
                xml.repairs.missing_elements += 1;
                return Ok(());
            }
            // `+1` is a valid xsd:int and fine for Rust too.
            *field = text
                .parse()
                .map_err(|_| Failure::invalid(element.local(), "a whole number"))?;
            Ok(())
        }

        pub(crate) fn write<T: Display + PartialOrd + Copy>(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &T,
            range: RangeInclusive<T>,
        ) -> Write {
            if !range.contains(field) {
                return Err(out.out_of_range(name, field, range.start(), range.end()));
            }
            out.number_element(name, field);
            Ok(())
        }
    }

    /// A fault code; absent or empty is 0.
    pub(crate) mod fault_code {
        pub(crate) use super::count_absent as absent;
        use super::*;
        use crate::fault::FaultCode;
        use std::ops::RangeInclusive;

        pub(crate) fn read(
            xml: &mut XmlReader<'_>,
            element: &Element<'_>,
            field: &mut FaultCode,
        ) -> Read {
            super::number::read(xml, element, &mut field.0)
        }

        pub(crate) fn write(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &FaultCode,
            range: RangeInclusive<u32>,
        ) -> Write {
            super::number::write(out, name, &field.0, range)
        }
    }

    /// A boolean: 0, 1, true, false in any case; written 0 or 1, which every CPE reads.
    pub(crate) mod boolean {
        pub(crate) use super::count_absent as absent;
        use super::*;

        pub(crate) fn parse(text: &str) -> Option<bool> {
            let text = text.trim();
            if text == "1" || text.eq_ignore_ascii_case("true") {
                Some(true)
            } else if text == "0" || text.eq_ignore_ascii_case("false") {
                Some(false)
            } else {
                None
            }
        }

        pub(crate) fn read(
            xml: &mut XmlReader<'_>,
            element: &Element<'_>,
            field: &mut bool,
        ) -> Read {
            let text = xml.text()?;
            if text.trim().is_empty() {
                xml.repairs.missing_elements += 1;
                return Ok(());
            }
            *field = parse(&text).ok_or_else(|| Failure::invalid(element.local(), "a boolean"))?;
            Ok(())
        }

        pub(crate) fn write(out: &mut Writer<'_>, name: &'static str, field: &bool) -> Write {
            out.number_element(name, &u8::from(*field));
            Ok(())
        }
    }

    /// A dateTime. Absent or empty is the unknown time.
    pub(crate) mod time {
        pub(crate) use super::count_absent as absent;
        use super::*;
        use crate::time::CwmpTime;

        pub(crate) fn read(xml: &mut XmlReader<'_>, _: &Element<'_>, field: &mut CwmpTime) -> Read {
            let text = xml.text()?;
            let text = text.trim();
            if text.is_empty() {
                xml.repairs.missing_elements += 1;
            } else {
                field.0 = text.to_owned();
            }
            Ok(())
        }

        pub(crate) fn write(out: &mut Writer<'_>, name: &'static str, field: &CwmpTime) -> Write {
            if field.time().is_none() {
                return Err(out.invalid(name, "a dateTime"));
            }
            out.text_element(name, &field.0, 64)
        }
    }

    /// A dateTime that may be left out.
    pub(crate) mod opt_time {
        pub(crate) use super::opt_text::absent;
        use super::*;
        use crate::time::CwmpTime;

        pub(crate) fn read(
            xml: &mut XmlReader<'_>,
            element: &Element<'_>,
            field: &mut Option<CwmpTime>,
        ) -> Read {
            super::time::read(xml, element, field.get_or_insert_default())
        }

        pub(crate) fn write(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &Option<CwmpTime>,
        ) -> Write {
            field
                .as_ref()
                .map_or(Ok(()), |time| super::time::write(out, name, time))
        }
    }

    /// One structure.
    pub(crate) mod one {
        pub(crate) use super::count_absent as absent;
        use super::*;

        pub(crate) fn read<T: Wire>(
            xml: &mut XmlReader<'_>,
            _: &Element<'_>,
            field: &mut T,
        ) -> Read {
            *field = T::read(xml)?;
            Ok(())
        }

        pub(crate) fn write<T: Wire>(out: &mut Writer<'_>, name: &'static str, field: &T) -> Write {
            out.open(name);
            field.write(out)?;
            out.close(name);
            Ok(())
        }
    }

    /// A SOAP array of structures, of so many items at least and at most when written. Whatever
    /// the items' element is called, it is taken for an item.
    pub(crate) mod array {
        pub(crate) use super::count_absent as absent;
        use super::*;
        use std::ops::RangeInclusive;

        pub(crate) fn read<T: Item>(
            xml: &mut XmlReader<'_>,
            element: &Element<'_>,
            field: &mut Vec<T>,
        ) -> Read {
            let declared = element.array_size();
            field.reserve(declared.unwrap_or(0).min(1024));
            while let Some(item) = xml.child()? {
                if item.local() != T::ELEMENT {
                    xml.repairs.unknown_elements += 1;
                }
                xml.count_item()?;
                field.push(T::read(xml)?);
            }
            xml.check_array_size(declared, field.len());
            Ok(())
        }

        pub(crate) fn write<T: Item>(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &[T],
            count: RangeInclusive<usize>,
        ) -> Write {
            out.check_count(name, field.len(), count)?;
            out.open_array(name, "cwmp:", T::ELEMENT, field.len());
            for item in field {
                out.open(T::ELEMENT);
                item.write(out)?;
                out.close(T::ELEMENT);
            }
            out.close(name);
            Ok(())
        }
    }

    /// A SOAP array of strings (`string` elements), each so long at most when written.
    pub(crate) mod strings {
        pub(crate) use super::count_absent as absent;
        use super::*;

        pub(crate) fn read(
            xml: &mut XmlReader<'_>,
            element: &Element<'_>,
            field: &mut Vec<String>,
        ) -> Read {
            let declared = element.array_size();
            field.reserve(declared.unwrap_or(0).min(1024));
            while xml.child()?.is_some() {
                xml.count_item()?;
                field.push(xml.token()?.into_owned());
            }
            xml.check_array_size(declared, field.len());
            Ok(())
        }

        pub(crate) fn write(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &[String],
            least: usize,
            max: usize,
        ) -> Write {
            out.check_count(name, field.len(), least..=usize::MAX)?;
            out.open_array(name, "xsd:", "string", field.len());
            for item in field {
                out.text_element("string", item, max)
                    .map_err(|error| error.in_list(name))?;
            }
            out.close(name);
            Ok(())
        }
    }

    /// A SOAP array of base64 texts (SetVouchers).
    pub(crate) mod base64s {
        pub(crate) use super::strings::{absent, read};
        use super::*;

        pub(crate) fn write(out: &mut Writer<'_>, name: &'static str, field: &[String]) -> Write {
            out.check_count(name, field.len(), 1..=usize::MAX)?;
            out.open_array(name, "soap-enc:", "base64", field.len());
            for item in field {
                let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
                if item.len() % 4 != 0 || !item.bytes().all(base64) {
                    return Err(out.invalid(name, "base64"));
                }
                out.text_element("base64", item, usize::MAX)?;
            }
            out.close(name);
            Ok(())
        }
    }

    /// A structure that is repeated without an array around it.
    pub(crate) mod repeat {
        use super::*;

        pub(crate) fn absent(_: &mut XmlReader<'_>) {}

        pub(crate) fn read<T: Wire>(
            xml: &mut XmlReader<'_>,
            _: &Element<'_>,
            field: &mut Vec<T>,
        ) -> Read {
            xml.count_item()?;
            field.push(T::read(xml)?);
            Ok(())
        }

        pub(crate) fn write<T: Wire>(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &[T],
            least: usize,
        ) -> Write {
            out.check_count(name, field.len(), least..=usize::MAX)?;
            for item in field {
                super::one::write(out, name, item)?;
            }
            Ok(())
        }
    }

    /// The operations of ChangeDUState, repeated, told apart by xsi:type.
    pub(crate) mod operations {
        pub(crate) use super::count_absent as absent;
        use super::*;
        use crate::rpc::DuOperation;

        pub(crate) fn read(
            xml: &mut XmlReader<'_>,
            element: &Element<'_>,
            field: &mut Vec<DuOperation>,
        ) -> Read {
            xml.count_item()?;
            let operation = match element.xsi_type() {
                Some("InstallOpStruct") => DuOperation::Install(Wire::read(xml)?),
                Some("UpdateOpStruct") => DuOperation::Update(Wire::read(xml)?),
                Some("UninstallOpStruct") => DuOperation::Uninstall(Wire::read(xml)?),
                _ => {
                    return Err(Failure::invalid(
                        "Operations",
                        "an xsi:type of an operation",
                    ));
                }
            };
            field.push(operation);
            Ok(())
        }

        pub(crate) fn write(
            out: &mut Writer<'_>,
            name: &'static str,
            field: &[DuOperation],
        ) -> Write {
            out.check_count(name, field.len(), 1..=usize::MAX)?;
            for operation in field {
                let type_name = match operation {
                    DuOperation::Install(_) => "cwmp:InstallOpStruct",
                    DuOperation::Update(_) => "cwmp:UpdateOpStruct",
                    DuOperation::Uninstall(_) => "cwmp:UninstallOpStruct",
                };
                out.open_typed(name, type_name);
                match operation {
                    DuOperation::Install(install) => install.write(out)?,
                    DuOperation::Update(update) => update.write(out)?,
                    DuOperation::Uninstall(uninstall) => uninstall.write(out)?,
                }
                out.close(name);
            }
            Ok(())
        }
    }
}
