//! Kinds of field that hold one text, number or time.

use super::{Element, Failure, Read, Write, Writer, XmlReader};

/// Text taken verbatim, at most so many characters when written.
pub(crate) mod text {
    pub(crate) use super::super::count_absent as absent;
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
    pub(crate) use super::super::count_absent as absent;
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
    pub(crate) use super::super::count_absent as absent;
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

    pub(crate) use super::super::nothing_absent as absent;

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

    pub(crate) fn write(out: &mut Writer<'_>, name: &'static str, field: &Option<String>) -> Write {
        field
            .as_deref()
            .map_or(Ok(()), |text| super::uuid::write(out, name, text))
    }
}

/// A whole number: unsignedInt or int, within a range when written.
pub(crate) mod number {
    pub(crate) use super::super::count_absent as absent;
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
    pub(crate) use super::super::count_absent as absent;
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
    pub(crate) use super::super::count_absent as absent;
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

    pub(crate) fn read(xml: &mut XmlReader<'_>, element: &Element<'_>, field: &mut bool) -> Read {
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
    pub(crate) use super::super::count_absent as absent;
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
