//! The methods about file transfers.

use crate::fault::FaultCode;
use crate::rpc::session::KEY;
use crate::time::CwmpTime;
use crate::value::Secret;
use crate::wire::Item;

wire! {
    /// Download (TR-069 A.3.2.8).
    struct Download {
        /// Comes back in TransferComplete.
        command_key: String = text("CommandKey", KEY),
        /// `1 Firmware Upgrade Image` and so on.
        file_type: String = token("FileType", 64),
        /// Where the file is.
        url: String = token("URL", 256),
        /// For the file server; empty for none.
        username: String = text("Username", 256),
        /// For the file server.
        password: Secret = secret("Password", 256),
        /// Bytes; 0 if not known.
        file_size: u32 = number("FileSize", 0..=u32::MAX),
        /// Name on the CPE; empty for its own choice.
        target_file_name: String = text("TargetFileName", 256),
        /// Seconds from the response to the start.
        delay_seconds: u32 = number("DelaySeconds", 0..=u32::MAX),
        /// Where to send a user's browser when it succeeded.
        success_url: String = text("SuccessURL", 256),
        /// Where to send a user's browser when it failed.
        failure_url: String = text("FailureURL", 256),
    }

    /// DownloadResponse and UploadResponse.
    struct TransferResponse {
        /// 0 done, and no TransferComplete follows; 1 one follows.
        status: u32 = number("Status", 0..=1),
        /// When it began, if done.
        start_time: CwmpTime = time("StartTime"),
        /// When it ended, if done.
        complete_time: CwmpTime = time("CompleteTime"),
    }

    /// Upload (TR-069 A.4.1.5): the CPE sends the file by HTTP PUT.
    struct Upload {
        /// Comes back in TransferComplete.
        command_key: String = text("CommandKey", KEY),
        /// `2 Vendor Log File` and so on.
        file_type: String = token("FileType", 64),
        /// Where to put the file.
        url: String = token("URL", 256),
        /// For the file server; empty for none.
        username: String = text("Username", 256),
        /// For the file server.
        password: Secret = secret("Password", 256),
        /// Seconds from the response to the start.
        delay_seconds: u32 = number("DelaySeconds", 0..=u32::MAX),
    }

    /// TimeWindowStruct of ScheduleDownload.
    struct TimeWindow {
        /// Seconds from the request.
        window_start: u32 = number("WindowStart", 0..=u32::MAX),
        /// Seconds from the request.
        window_end: u32 = number("WindowEnd", 0..=u32::MAX),
        /// `1 At Any Time`, `2 Immediately`, `3 When Idle`, `4 Confirmation Needed`.
        window_mode: String = token("WindowMode", 64),
        /// What the user is asked.
        user_message: String = text("UserMessage", 256),
        /// Retries within the window; negative for the CPE's own choice.
        max_retries: i32 = number("MaxRetries", i32::MIN..=i32::MAX),
    }

    /// ScheduleDownload (TR-069 A.4.1.8).
    struct ScheduleDownload {
        /// Comes back in TransferComplete.
        command_key: String = text("CommandKey", KEY),
        /// `1 Firmware Upgrade Image` and so on.
        file_type: String = token("FileType", 64),
        /// Where the file is.
        url: String = token("URL", 256),
        /// For the file server; empty for none.
        username: String = text("Username", 256),
        /// For the file server.
        password: Secret = secret("Password", 256),
        /// Bytes; 0 if not known.
        file_size: u32 = number("FileSize", 0..=u32::MAX),
        /// Name on the CPE; empty for its own choice.
        target_file_name: String = text("TargetFileName", 256),
        /// One or two windows, in order, that don't overlap.
        time_window_list: Vec<TimeWindow> = array("TimeWindowList", 1..=2),
    }

    /// CancelTransfer (TR-069 A.4.1.9).
    struct CancelTransfer {
        /// CommandKey of the transfer.
        command_key: String = text("CommandKey", KEY),
    }

    /// QueuedTransferStruct.
    struct QueuedTransfer {
        /// CommandKey of the transfer.
        command_key: String = text("CommandKey", KEY),
        /// 1 not begun, 2 under way, 3 done, being finished.
        state: u32 = number("State", 1..=3),
    }

    /// GetQueuedTransfersResponse (TR-069 A.4.1.1), deprecated.
    struct GetQueuedTransfersResponse {
        /// Transfers the ACS asked for.
        transfer_list: Vec<QueuedTransfer> = array("TransferList", 0..=16),
    }

    /// AllQueuedTransferStruct.
    struct AllQueuedTransfer {
        /// CommandKey of the transfer; empty if the ACS didn't ask for it.
        command_key: String = text("CommandKey", KEY),
        /// 1 not begun, 2 under way, 3 done, being finished.
        state: u32 = number("State", 1..=3),
        /// Download, or else upload.
        is_download: bool = boolean("IsDownload"),
        /// `1 Firmware Upgrade Image` and so on.
        file_type: String = token("FileType", 64),
        /// Bytes; 0 if not known.
        file_size: u32 = number("FileSize", 0..=u32::MAX),
        /// Name on the CPE.
        target_file_name: String = text("TargetFileName", 256),
    }

    /// GetAllQueuedTransfersResponse (TR-069 A.4.1.7).
    struct GetAllQueuedTransfersResponse {
        /// All transfers.
        transfer_list: Vec<AllQueuedTransfer> = array("TransferList", 0..=16),
    }

    /// FaultStruct of TransferComplete: code 0 is success.
    struct TransferFault {
        /// 0, or a CPE fault code.
        fault_code: FaultCode = fault_code("FaultCode", 0..=9899),
        /// The same in words.
        fault_string: String = text("FaultString", 256),
    }

    /// TransferComplete (TR-069 A.3.3.2).
    struct TransferComplete {
        /// CommandKey of the transfer.
        command_key: String = text("CommandKey", KEY),
        /// How it went.
        fault_struct: TransferFault = one("FaultStruct"),
        /// When it began.
        start_time: CwmpTime = time("StartTime"),
        /// When it ended.
        complete_time: CwmpTime = time("CompleteTime"),
    }

    /// AutonomousTransferComplete (TR-069 A.3.3.3).
    struct AutonomousTransferComplete {
        /// Where the CPE heard of the file.
        announce_url: String = text("AnnounceURL", 1024),
        /// Where the file came from or went to.
        transfer_url: String = text("TransferURL", 1024),
        /// Download, or else upload.
        is_download: bool = boolean("IsDownload"),
        /// `1 Firmware Upgrade Image` and so on.
        file_type: String = token("FileType", 64),
        /// Bytes; 0 if not known.
        file_size: u32 = number("FileSize", 0..=u32::MAX),
        /// Name on the CPE.
        target_file_name: String = text("TargetFileName", 256),
        /// How it went.
        fault_struct: TransferFault = one("FaultStruct"),
        /// When it began.
        start_time: CwmpTime = time("StartTime"),
        /// When it ended.
        complete_time: CwmpTime = time("CompleteTime"),
    }

    /// GetOptions (TR-069 A.4.1.4), deprecated.
    struct GetOptions {
        /// The option; empty for all.
        option_name: String = text("OptionName", 64),
    }

    /// OptionStruct, deprecated.
    struct OptionStruct {
        /// The option.
        option_name: String = text("OptionName", 64),
        /// Serial number of its voucher.
        voucher_sn: u32 = number("VoucherSN", 0..=u32::MAX),
        /// 0 disabled, 1 enabled; 2 and 3 likewise, not set up.
        state: u32 = number("State", 0..=3),
        /// 0 disabled, 1 enabled with expiration, 2 enabled without.
        mode: i32 = number("Mode", 0..=2),
        /// From when it runs.
        start_date: CwmpTime = time("StartDate"),
        /// Until when it runs.
        expiration_date: Option<CwmpTime> = opt_time("ExpirationDate"),
        /// 0 or 1.
        is_transferable: i32 = number("IsTransferable", 0..=1),
    }

    /// GetOptionsResponse, deprecated.
    struct GetOptionsResponse {
        /// The options.
        option_list: Vec<OptionStruct> = array("OptionList", 0..=usize::MAX),
    }
}

impl TransferFault {
    /// Whether the transfer succeeded.
    pub fn is_success(&self) -> bool {
        self.fault_code.0 == 0
    }
}

impl Item for TimeWindow {
    const ELEMENT: &'static str = "TimeWindowStruct";
}

impl Item for QueuedTransfer {
    const ELEMENT: &'static str = "QueuedTransferStruct";
}

impl Item for AllQueuedTransfer {
    const ELEMENT: &'static str = "AllQueuedTransferStruct";
}

impl Item for OptionStruct {
    const ELEMENT: &'static str = "OptionStruct";
}
