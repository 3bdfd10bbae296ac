//! Kinds of field that hold structures: one, repeated, or in a SOAP array.

use super::{Element, Failure, Item, Read, Wire, Write, Writer, XmlReader};

/// One structure.
pub(crate) mod one {
    pub(crate) use super::super::count_absent as absent;
    use super::*;

    pub(crate) fn read<T: Wire>(xml: &mut XmlReader<'_>, _: &Element<'_>, field: &mut T) -> Read {
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
    pub(crate) use super::super::count_absent as absent;
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
    pub(crate) use super::super::count_absent as absent;
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

    pub(crate) use super::super::nothing_absent as absent;

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
    pub(crate) use super::super::count_absent as absent;
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

    pub(crate) fn write(out: &mut Writer<'_>, name: &'static str, field: &[DuOperation]) -> Write {
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
