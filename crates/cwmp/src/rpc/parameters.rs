//! The methods about parameters and objects.

use crate::decode::reader::{Failure, XmlReader};
use crate::encode::{EncodeError, Writer};
use crate::rpc::session::KEY;
use crate::value::{ParameterValue, XsdType};
use crate::wire::{Item, Wire};

/// Longest path name.
pub(crate) const NAME: usize = 256;

wire! {
    /// SetParameterValues (TR-069 A.3.2.1).
    struct SetParameterValues {
        /// What to set: full paths, each once.
        parameter_list: Vec<ParameterValue> = array("ParameterList", 1..=usize::MAX),
        /// Stored by the CPE as its ParameterKey.
        parameter_key: String = text("ParameterKey", KEY),
    }

    /// SetParameterValuesResponse and DeleteObjectResponse.
    struct StatusResponse {
        /// 0 done, 1 done after a reboot.
        status: u32 = number("Status", 0..=1),
    }

    /// GetParameterValues (TR-069 A.3.2.2).
    struct GetParameterValues {
        /// Full or partial paths.
        parameter_names: Vec<String> = strings("ParameterNames", 1, NAME),
    }

    /// GetParameterValuesResponse.
    struct GetParameterValuesResponse {
        /// The values.
        parameter_list: Vec<ParameterValue> = array("ParameterList", 0..=usize::MAX),
    }

    /// GetParameterNames (TR-069 A.3.2.3).
    struct GetParameterNames {
        /// Full or partial path; empty for the root.
        parameter_path: String = token("ParameterPath", NAME),
        /// Whether only the next level is wanted.
        next_level: bool = boolean("NextLevel"),
    }

    /// ParameterInfoStruct.
    struct ParameterInfo {
        /// Full path of a parameter, or partial path of an object.
        name: String = token("Name", NAME),
        /// Whether SetParameterValues, or AddObject and DeleteObject, may be used on it.
        writable: bool = boolean("Writable"),
    }

    /// GetParameterNamesResponse.
    struct GetParameterNamesResponse {
        /// The names.
        parameter_list: Vec<ParameterInfo> = array("ParameterList", 0..=usize::MAX),
    }

    /// SetParameterAttributesStruct.
    struct SetParameterAttributesStruct {
        /// Full or partial path.
        name: String = token("Name", NAME),
        /// Whether `notification` is to be taken over.
        notification_change: bool = boolean("NotificationChange"),
        /// 0 off, 1 passive, 2 active, 3 to 6 with lightweight notification.
        notification: u32 = number("Notification", 0..=6),
        /// Whether `access_list` is to be taken over.
        access_list_change: bool = boolean("AccessListChange"),
        /// `Subscriber`, or empty.
        access_list: Vec<String> = strings("AccessList", 0, 64),
    }

    /// SetParameterAttributes (TR-069 A.3.2.4).
    struct SetParameterAttributes {
        /// What to change.
        parameter_list: Vec<SetParameterAttributesStruct> = array("ParameterList", 1..=usize::MAX),
    }

    /// GetParameterAttributes (TR-069 A.3.2.5).
    struct GetParameterAttributes {
        /// Full or partial paths.
        parameter_names: Vec<String> = strings("ParameterNames", 1, NAME),
    }

    /// ParameterAttributeStruct.
    struct ParameterAttribute {
        /// Full path.
        name: String = token("Name", NAME),
        /// 0 off, 1 passive, 2 active, 3 to 6 with lightweight notification.
        notification: u32 = number("Notification", 0..=6),
        /// `Subscriber`, or empty.
        access_list: Vec<String> = strings("AccessList", 0, 64),
    }

    /// GetParameterAttributesResponse.
    struct GetParameterAttributesResponse {
        /// The attributes.
        parameter_list: Vec<ParameterAttribute> = array("ParameterList", 0..=usize::MAX),
    }

    /// AddObject (TR-069 A.3.2.6).
    struct AddObject {
        /// Path of the object without instance number, ending in a dot.
        object_name: String = object("ObjectName", NAME),
        /// Stored by the CPE as its ParameterKey.
        parameter_key: String = text("ParameterKey", KEY),
    }

    /// AddObjectResponse.
    struct AddObjectResponse {
        /// Number of the new instance, from 1.
        instance_number: u32 = number("InstanceNumber", 1..=u32::MAX) required,
        /// 0 done, 1 done after a reboot.
        status: u32 = number("Status", 0..=1),
    }

    /// DeleteObject (TR-069 A.3.2.7).
    struct DeleteObject {
        /// Path of the instance, ending in a dot.
        object_name: String = object("ObjectName", NAME),
        /// Stored by the CPE as its ParameterKey.
        parameter_key: String = text("ParameterKey", KEY),
    }

    /// SetVouchers (TR-069 A.4.1.6), deprecated.
    struct SetVouchers {
        /// Vouchers in base64.
        voucher_list: Vec<String> = base64s("VoucherList"),
    }
}

impl Item for ParameterInfo {
    const ELEMENT: &'static str = "ParameterInfoStruct";
}

impl Item for SetParameterAttributesStruct {
    const ELEMENT: &'static str = "SetParameterAttributesStruct";
}

impl Item for ParameterAttribute {
    const ELEMENT: &'static str = "ParameterAttributeStruct";
}

impl Item for ParameterValue {
    const ELEMENT: &'static str = "ParameterValueStruct";
}

impl Wire for ParameterValue {
    fn read(xml: &mut XmlReader<'_>) -> Result<Self, Failure> {
        let mut out = Self {
            xsd_type: XsdType::Other,
            ..Self::default()
        };
        let (mut name, mut value) = (false, false);
        while let Some(element) = xml.child()? {
            match element.local() {
                "Name" => {
                    out.name = xml.token()?.into_owned();
                    name = true;
                }
                "Value" => {
                    out.xsd_type = match element.xsi_type() {
                        Some(known) => XsdType::parse(known).unwrap_or_else(|| {
                            xml.repairs.odd_types += 1;
                            XsdType::parse_odd(known)
                        }),
                        None => {
                            xml.repairs.missing_types += 1;
                            XsdType::Other
                        }
                    };
                    let text = xml.text()?;
                    // In a string blanks count; in anything else they only get in the way.
                    out.value = match out.xsd_type {
                        XsdType::String | XsdType::Other => text.into_owned(),
                        _ => text.trim().to_owned(),
                    };
                    value = true;
                }
                _ => xml.skip_unknown()?,
            }
        }
        xml.repairs.missing_elements += u32::from(!name) + u32::from(!value);
        Ok(out)
    }

    fn write(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.text_element("Name", &self.name, NAME)?;
        out.open_typed("Value", self.xsd_type.qualified());
        out.text("Value", &self.value)?;
        out.close("Value");
        Ok(())
    }
}
