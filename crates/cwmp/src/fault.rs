//! CWMP faults (TR-069 3.5, A.5).

use std::fmt;

use crate::wire::kinds;

/// A CWMP fault code: 8000–8899 of an ACS, 9000–9899 of a CPE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FaultCode(pub u32);

macro_rules! codes {
    ($( $name:ident = $code:literal $text:literal; )*) => {
        impl FaultCode {
            $( #[doc = concat!(stringify!($code), ": ", $text, ".")]
               pub const $name: Self = Self($code); )*

            /// What the code means, as a FaultString; empty for vendor and unknown codes.
            pub fn text(self) -> &'static str {
                match self.0 {
                    $( $code => $text, )*
                    _ => "",
                }
            }
        }
    };
}

codes! {
    UNSPECIFIED = 0 "No fault code was given";
    ACS_METHOD_NOT_SUPPORTED = 8000 "Method not supported";
    ACS_REQUEST_DENIED = 8001 "Request denied";
    ACS_INTERNAL_ERROR = 8002 "Internal error";
    ACS_INVALID_ARGUMENTS = 8003 "Invalid arguments";
    ACS_RESOURCES_EXCEEDED = 8004 "Resources exceeded";
    ACS_RETRY_REQUEST = 8005 "Retry request";
    ACS_VERSION_INCOMPATIBLE = 8006 "ACS version incompatible with CPE";
    METHOD_NOT_SUPPORTED = 9000 "Method not supported";
    REQUEST_DENIED = 9001 "Request denied";
    INTERNAL_ERROR = 9002 "Internal error";
    INVALID_ARGUMENTS = 9003 "Invalid arguments";
    RESOURCES_EXCEEDED = 9004 "Resources exceeded";
    INVALID_PARAMETER_NAME = 9005 "Invalid parameter name";
    INVALID_PARAMETER_TYPE = 9006 "Invalid parameter type";
    INVALID_PARAMETER_VALUE = 9007 "Invalid parameter value";
    NOT_WRITABLE = 9008 "Attempt to set a non-writable parameter";
    NOTIFICATION_REJECTED = 9009 "Notification request rejected";
    DOWNLOAD_FAILURE = 9010 "Download failure";
    UPLOAD_FAILURE = 9011 "Upload failure";
    TRANSFER_AUTHENTICATION = 9012 "File transfer server authentication failure";
    TRANSFER_PROTOCOL = 9013 "Unsupported protocol for file transfer";
    MULTICAST_GROUP = 9014 "Download failure: unable to join multicast group";
    CONTACT_FILE_SERVER = 9015 "Download failure: unable to contact file server";
    ACCESS_FILE = 9016 "Download failure: unable to access file";
    INCOMPLETE_DOWNLOAD = 9017 "Download failure: unable to complete download";
    FILE_CORRUPTED = 9018 "Download failure: file corrupted";
    FILE_AUTHENTICATION = 9019 "Download failure: file authentication failure";
    TIME_WINDOW_MISSED = 9020 "Download failure: unable to complete within the time windows";
    CANCELLATION_NOT_PERMITTED = 9021 "Cancellation of file transfer not permitted";
    INVALID_UUID_FORMAT = 9022 "Invalid UUID format";
    UNKNOWN_EXECUTION_ENVIRONMENT = 9023 "Unknown execution environment";
    DISABLED_EXECUTION_ENVIRONMENT = 9024 "Disabled execution environment";
    EXECUTION_ENVIRONMENT_MISMATCH = 9025 "Deployment unit does not fit the execution environment";
    DUPLICATE_DEPLOYMENT_UNIT = 9026 "Duplicate deployment unit";
    SYSTEM_RESOURCES_EXCEEDED = 9027 "System resources exceeded";
    UNKNOWN_DEPLOYMENT_UNIT = 9028 "Unknown deployment unit";
    INVALID_DEPLOYMENT_UNIT_STATE = 9029 "Invalid deployment unit state";
    UPDATE_DOWNGRADE = 9030 "Invalid deployment unit update: downgrade not permitted";
    UPDATE_NO_VERSION = 9031 "Invalid deployment unit update: version not specified";
    UPDATE_VERSION_EXISTS = 9032 "Invalid deployment unit update: version already exists";
}

impl FaultCode {
    /// Whose fault the code says it is (TR-069 A.5): a wrong request is the Client's.
    pub fn source(self) -> FaultSource {
        match self.0 {
            8003 | 9003 | 9005..=9008 => FaultSource::Client,
            _ => FaultSource::Server,
        }
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The SOAP faultcode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FaultSource {
    /// The request was wrong.
    Client,
    /// It failed at who received it.
    #[default]
    Server,
}

impl FaultSource {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "Client",
            Self::Server => "Server",
        }
    }
}

wire! {
    /// One bad parameter of a SetParameterValues (TR-069 A.3.2.1).
    struct SetParameterValuesFault {
        /// Its full path.
        parameter_name: String = token("ParameterName", usize::MAX),
        /// What is wrong with it.
        fault_code: FaultCode = fault_code("FaultCode", 9000..=9899),
        /// The same in words, as the CPE puts it.
        fault_string: Option<String> = opt_text("FaultString", usize::MAX),
    }
}

/// A CWMP fault: the SOAP fault and its detail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// The SOAP faultcode.
    pub source: FaultSource,
    /// The CWMP code. [`FaultCode::UNSPECIFIED`] if the CPE sent a fault without detail.
    pub code: FaultCode,
    /// The CWMP FaultString, or for want of it the SOAP faultstring.
    pub string: Option<String>,
    /// The parameters that made a SetParameterValues fail; real CPEs often name only the first.
    pub parameters: Vec<SetParameterValuesFault>,
}

impl Fault {
    /// A fault with a code's own text and source.
    pub fn new(code: FaultCode) -> Self {
        Self {
            source: code.source(),
            code,
            string: Some(code.text().to_owned()),
            parameters: Vec::new(),
        }
    }
}

impl crate::wire::Wire for Fault {
    /// Reads the SOAP Fault, or a bare CWMP Fault, in whatever nesting the CPE chose.
    fn read(
        xml: &mut crate::decode::reader::XmlReader<'_>,
    ) -> Result<Self, crate::decode::reader::Failure> {
        let mut fault = Self::default();
        let mut has_code = false;
        let base = xml.depth();
        let mut soap_string = None;
        loop {
            let Some(element) = xml.child()? else {
                if xml.depth() < base {
                    break;
                }
                continue;
            };
            match element.local() {
                "faultcode" => {
                    let client = xml.text()?.trim().ends_with("Client");
                    fault.source = if client {
                        FaultSource::Client
                    } else {
                        FaultSource::Server
                    };
                }
                "faultstring" => soap_string = Some(xml.text()?.into_owned()),
                "FaultCode" => {
                    kinds::fault_code::read(xml, &element, &mut fault.code)?;
                    has_code = true;
                }
                "FaultString" => fault.string = Some(xml.text()?.into_owned()),
                "SetParameterValuesFault" => {
                    kinds::repeat::read(xml, &element, &mut fault.parameters)?;
                }
                // Descended into: their children come next.
                "detail" | "Fault" | "Detail" => {}
                _ => xml.skip_unknown()?,
            }
        }
        if !has_code {
            xml.repairs.missing_elements += 1;
            fault.string = fault
                .string
                .or(soap_string.filter(|text| !text.trim().is_empty()));
        }
        Ok(fault)
    }

    /// Writes the children of the CWMP Fault; the SOAP Fault around it is the encoder's.
    fn write(&self, out: &mut crate::encode::Writer<'_>) -> Result<(), crate::encode::EncodeError> {
        kinds::fault_code::write(out, "FaultCode", &self.code, 8000..=9899)?;
        kinds::opt_text::write(out, "FaultString", &self.string, usize::MAX)?;
        kinds::repeat::write(out, "SetParameterValuesFault", &self.parameters, 0)
    }
}
