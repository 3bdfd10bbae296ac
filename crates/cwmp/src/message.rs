//! Envelopes and the messages in them: every RPC of CWMP 1.0 to 1.4, in both directions.

use crate::decode::reader::{Failure, XmlReader};
use crate::encode::{EncodeError, Writer};
use crate::fault::Fault;
use crate::namespace::{CwmpVersion, Namespace};
use crate::rpc::*;
use crate::wire::Wire;

/// One SOAP envelope: the headers of TR-069 3.5 and one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// cwmp:ID, to be echoed verbatim in the answer. Any text.
    pub id: Option<String>,
    /// HoldRequests, ACS to CPE only.
    pub hold_requests: Option<bool>,
    /// SessionTimeout in seconds, CPE to ACS, on an Inform.
    pub session_timeout: Option<u32>,
    /// SupportedCWMPVersions, CPE to ACS, on an Inform; empty if absent.
    pub supported_versions: Vec<CwmpVersion>,
    /// UseCWMPVersion, in an InformResponse.
    pub use_version: Option<CwmpVersion>,
    /// The CWMP namespace: the one that came, and the one to answer in.
    pub namespace: Namespace,
    /// What the envelope carries.
    pub message: Message,
}

impl Envelope {
    /// A message without headers, in the namespace of CWMP 1.0.
    pub fn new(message: Message) -> Self {
        Self {
            id: None,
            hold_requests: None,
            session_timeout: None,
            supported_versions: Vec::new(),
            use_version: None,
            namespace: Namespace::default(),
            message,
        }
    }

    /// An answer to this envelope: same ID, same namespace.
    pub fn answer(&self, message: Message) -> Self {
        Self {
            id: self.id.clone(),
            namespace: self.namespace,
            ..Self::new(message)
        }
    }
}

/// The body of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The CPE asks the ACS.
    CpeRequest(CpeRequest),
    /// The ACS answers the CPE.
    AcsResponse(AcsResponse),
    /// The ACS asks the CPE.
    AcsRequest(AcsRequest),
    /// The CPE answers the ACS.
    CpeResponse(CpeResponse),
    /// Either side answers with a fault.
    Fault(Fault),
    /// A method that the receiver doesn't know: fault 8000 (9000 of a CPE).
    Unknown {
        /// The element's local name.
        method: String,
    },
}

/// What kind of [`Message`] it is, without its content: what the session machine looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageClass {
    /// An Inform.
    Inform,
    /// Any other request of a CPE that is known.
    CpeRequest,
    /// A response of a CPE.
    CpeResponse,
    /// A fault.
    Fault,
    /// Anything else: an unknown method, or a message that only a CPE may receive.
    Unknown,
}

impl Message {
    /// The name of the method's element, `Fault` for a fault, empty for an unknown one.
    pub fn method(&self) -> &'static str {
        match self {
            Self::CpeRequest(message) => message.method(),
            Self::AcsResponse(message) => message.method(),
            Self::AcsRequest(message) => message.method(),
            Self::CpeResponse(message) => message.method(),
            Self::Fault(_) => "Fault",
            Self::Unknown { .. } => "",
        }
    }

    /// The message's class, as an ACS sees it.
    pub fn class(&self) -> MessageClass {
        match self {
            Self::CpeRequest(CpeRequest::Inform(_)) => MessageClass::Inform,
            Self::CpeRequest(_) => MessageClass::CpeRequest,
            Self::CpeResponse(_) => MessageClass::CpeResponse,
            Self::Fault(_) => MessageClass::Fault,
            Self::AcsRequest(_) | Self::AcsResponse(_) | Self::Unknown { .. } => {
                MessageClass::Unknown
            }
        }
    }
}

/// Defines the messages of one direction. A message without content has no type of its own.
macro_rules! messages {
    ($( $(#[$meta:meta])* enum $name:ident {
        $( $(#[$variant_meta:meta])* $variant:ident $(($ty:ty))? = $xml:literal, )*
    } )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant $(($ty))?, )*
        }

        impl $name {
            /// Every method of this direction, as its element is called.
            pub const METHODS: &'static [&'static str] = &[$( $xml ),*];

            /// The name of the method's element.
            pub fn method(&self) -> &'static str {
                match self {
                    $( messages!(@pattern $variant $(, $ty)?) => $xml, )*
                }
            }

            /// Reads the message of this name; `None`, with nothing read, if there is none.
            pub(crate) fn read(
                name: &str,
                xml: &mut XmlReader<'_>,
            ) -> Result<Option<Self>, Failure> {
                Ok(Some(match name {
                    $( $xml => messages!(@read xml $variant $(, $ty)?), )*
                    _ => return Ok(None),
                }))
            }

            /// How to make up each message, by method.
            #[cfg(test)]
            pub(crate) fn strategies() -> Vec<(&'static str, proptest::strategy::BoxedStrategy<Self>)> {
                vec![$( ($xml, messages!(@sample $variant $(, $ty)?)), )*]
            }

            pub(crate) fn write(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
                match self {
                    $( messages!(@bind $variant content $(, $ty)?) => {
                        messages!(@write out $xml content $(, $ty)?)
                    } )*
                }
            }
        }
    )* };
    (@sample $variant:ident) => {
        proptest::strategy::Strategy::boxed(proptest::strategy::Just(Self::$variant))
    };
    (@sample $variant:ident, $ty:ty) => {
        proptest::strategy::Strategy::boxed(proptest::strategy::Strategy::prop_map(
            <$ty as crate::wire::sample::Sample>::strategy(),
            Self::$variant,
        ))
    };
    (@pattern $variant:ident) => { Self::$variant };
    (@pattern $variant:ident, $ty:ty) => { Self::$variant(_) };
    (@bind $variant:ident $content:ident) => { Self::$variant };
    (@bind $variant:ident $content:ident, $ty:ty) => { Self::$variant($content) };
    (@read $reader:ident $variant:ident) => {{ $reader.skip()?; Self::$variant }};
    (@read $reader:ident $variant:ident, $ty:ty) => { Self::$variant(<$ty>::read($reader)?) };
    (@write $out:ident $xml:literal $content:ident) => {{ $out.empty_method($xml); Ok(()) }};
    (@write $out:ident $xml:literal $content:ident, $ty:ty) => { $out.method($xml, $content) };
}

messages! {
    /// What a CPE asks of the ACS (TR-069 A.3.3, A.4.2).
    enum CpeRequest {
        /// Opens the session.
        Inform(Inform) = "Inform",
        /// Asks for the ACS's methods.
        GetRpcMethods = "GetRPCMethods",
        /// A download or upload the ACS asked for has ended.
        TransferComplete(TransferComplete) = "TransferComplete",
        /// A transfer the ACS didn't ask for has ended.
        AutonomousTransferComplete(AutonomousTransferComplete) = "AutonomousTransferComplete",
        /// Deprecated: a user was sent through the CPE's web page.
        Kicked(Kicked) = "Kicked",
        /// The CPE asks to be told to download.
        RequestDownload(RequestDownload) = "RequestDownload",
        /// A ChangeDUState has ended.
        DuStateChangeComplete(DuStateChangeComplete) = "DUStateChangeComplete",
        /// Deployment units changed on their own.
        AutonomousDuStateChangeComplete(AutonomousDuStateChangeComplete)
            = "AutonomousDUStateChangeComplete",
    }

    /// What the ACS answers a CPE.
    enum AcsResponse {
        /// To an Inform.
        Inform(InformResponse) = "InformResponse",
        /// To GetRPCMethods.
        GetRpcMethods(GetRpcMethodsResponse) = "GetRPCMethodsResponse",
        /// To TransferComplete.
        TransferComplete = "TransferCompleteResponse",
        /// To AutonomousTransferComplete.
        AutonomousTransferComplete = "AutonomousTransferCompleteResponse",
        /// To Kicked.
        Kicked(KickedResponse) = "KickedResponse",
        /// To RequestDownload.
        RequestDownload = "RequestDownloadResponse",
        /// To DUStateChangeComplete.
        DuStateChangeComplete = "DUStateChangeCompleteResponse",
        /// To AutonomousDUStateChangeComplete.
        AutonomousDuStateChangeComplete = "AutonomousDUStateChangeCompleteResponse",
    }

    /// What the ACS asks of a CPE (TR-069 A.3.2, A.4.1).
    enum AcsRequest {
        /// Asks for the CPE's methods.
        GetRpcMethods = "GetRPCMethods",
        /// Sets values, all or none.
        SetParameterValues(SetParameterValues) = "SetParameterValues",
        /// Reads values.
        GetParameterValues(GetParameterValues) = "GetParameterValues",
        /// Lists names.
        GetParameterNames(GetParameterNames) = "GetParameterNames",
        /// Sets notification and access.
        SetParameterAttributes(SetParameterAttributes) = "SetParameterAttributes",
        /// Reads notification and access.
        GetParameterAttributes(GetParameterAttributes) = "GetParameterAttributes",
        /// Makes an object's instance.
        AddObject(AddObject) = "AddObject",
        /// Removes an object's instance.
        DeleteObject(DeleteObject) = "DeleteObject",
        /// Has the CPE fetch a file.
        Download(Download) = "Download",
        /// Has the CPE send a file.
        Upload(Upload) = "Upload",
        /// Restarts the CPE after the session.
        Reboot(Reboot) = "Reboot",
        /// Resets the CPE after the session.
        FactoryReset = "FactoryReset",
        /// Asks for an Inform after a delay.
        ScheduleInform(ScheduleInform) = "ScheduleInform",
        /// Has the CPE fetch a file in a time window.
        ScheduleDownload(ScheduleDownload) = "ScheduleDownload",
        /// Cancels a transfer.
        CancelTransfer(CancelTransfer) = "CancelTransfer",
        /// Deprecated form of GetAllQueuedTransfers.
        GetQueuedTransfers = "GetQueuedTransfers",
        /// Lists transfers under way.
        GetAllQueuedTransfers = "GetAllQueuedTransfers",
        /// Installs, updates and uninstalls deployment units.
        ChangeDuState(ChangeDuState) = "ChangeDUState",
        /// Deprecated.
        SetVouchers(SetVouchers) = "SetVouchers",
        /// Deprecated.
        GetOptions(GetOptions) = "GetOptions",
    }

    /// What a CPE answers the ACS.
    enum CpeResponse {
        /// To GetRPCMethods.
        GetRpcMethods(GetRpcMethodsResponse) = "GetRPCMethodsResponse",
        /// To SetParameterValues.
        SetParameterValues(StatusResponse) = "SetParameterValuesResponse",
        /// To GetParameterValues.
        GetParameterValues(GetParameterValuesResponse) = "GetParameterValuesResponse",
        /// To GetParameterNames.
        GetParameterNames(GetParameterNamesResponse) = "GetParameterNamesResponse",
        /// To SetParameterAttributes.
        SetParameterAttributes = "SetParameterAttributesResponse",
        /// To GetParameterAttributes.
        GetParameterAttributes(GetParameterAttributesResponse) = "GetParameterAttributesResponse",
        /// To AddObject.
        AddObject(AddObjectResponse) = "AddObjectResponse",
        /// To DeleteObject.
        DeleteObject(StatusResponse) = "DeleteObjectResponse",
        /// To Download.
        Download(TransferResponse) = "DownloadResponse",
        /// To Upload.
        Upload(TransferResponse) = "UploadResponse",
        /// To Reboot.
        Reboot = "RebootResponse",
        /// To FactoryReset.
        FactoryReset = "FactoryResetResponse",
        /// To ScheduleInform.
        ScheduleInform = "ScheduleInformResponse",
        /// To ScheduleDownload.
        ScheduleDownload = "ScheduleDownloadResponse",
        /// To CancelTransfer.
        CancelTransfer = "CancelTransferResponse",
        /// To GetQueuedTransfers.
        GetQueuedTransfers(GetQueuedTransfersResponse) = "GetQueuedTransfersResponse",
        /// To GetAllQueuedTransfers.
        GetAllQueuedTransfers(GetAllQueuedTransfersResponse) = "GetAllQueuedTransfersResponse",
        /// To ChangeDUState.
        ChangeDuState = "ChangeDUStateResponse",
        /// To SetVouchers.
        SetVouchers = "SetVouchersResponse",
        /// To GetOptions.
        GetOptions(GetOptionsResponse) = "GetOptionsResponse",
    }
}
