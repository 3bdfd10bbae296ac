//! File transfers: downloads that really fetch, uploads that really send, and what a device does
//! with a file.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hearth_cwmp::FaultCode;
use http::{HeaderMap, Method};
use sha2::{Digest as _, Sha256};

use super::behaviour::{AuthStyle, CookieStyle};
use super::device::Device;
use super::http::{Client, ClientOptions, HttpError};
use super::ledger::Transferred;
use super::state::{Progress, State, StoredFile, Transfer};

/// Does a transfer and notes how it went; the device tells the ACS in its next session.
pub(super) async fn run(device: Arc<Device>, transfer: Transfer, boots: u64) {
    let start = SystemTime::now();
    let stop = device.shared.stop.clone();
    let missed = transfer.until.is_some_and(|until| until <= Instant::now());
    let result = match missed {
        true => Err(FaultCode::TIME_WINDOW_MISSED),
        false => tokio::select! {
            () = stop.cancelled() => return,
            result = perform(&device, &transfer) => result,
        },
    };
    let mut state = device.state.lock();
    if state.ledger.boots != boots {
        // It lost power meanwhile, and has begun anew since.
        return;
    }
    let end = SystemTime::now();
    let fault = result.as_ref().err().copied().unwrap_or_default();
    let same = |t: &&mut Transfer| t.key == transfer.key && t.progress == Progress::Running;
    let Some(running) = state.transfers.iter_mut().find(same) else {
        return;
    };
    running.progress = Progress::Done { fault, start, end };
    note(&mut state, &transfer, &result);
    state.event("7 TRANSFER COMPLETE", "");
    state.event(transfer.method, &transfer.key);
    if let Ok(moved) = result {
        keep(&mut state, &transfer, moved.stored);
    }
    drop(state);
    device.wake.notify_one();
}

/// A file that went over the wire.
pub(super) struct Moved {
    sha256: String,
    /// What was fetched, with the version in it.
    pub stored: Option<(StoredFile, String)>,
}

/// Writes a transfer that ended into the ledger.
pub(super) fn note(state: &mut State, transfer: &Transfer, result: &Result<Moved, FaultCode>) {
    let sha256 = result.as_ref().map(|moved| moved.sha256.clone());
    state.ledger.transfer(Transferred {
        at: SystemTime::now(),
        key: transfer.key.clone(),
        download: transfer.download,
        fault: result.as_ref().err().map(|fault| fault.0),
        sha256: sha256.unwrap_or_default(),
    });
}

/// Keeps a fetched file; firmware is installed when no session is open.
pub(super) fn keep(state: &mut State, transfer: &Transfer, stored: Option<(StoredFile, String)>) {
    let Some((file, version)) = stored else {
        return;
    };
    state.files.push(file);
    if transfer.file_type.starts_with("1 ") {
        state.install = Some(version);
    }
}

/// A file that was fetched and is not kept.
pub(super) struct Fetched {
    /// The version that it tells.
    pub version: String,
    /// Of its content, in hex.
    pub sha256: String,
}

/// Fetches a file that is not kept.
pub(super) async fn fetch(device: &Device, transfer: &Transfer) -> Result<Fetched, FaultCode> {
    let moved = perform(device, transfer).await?;
    let (file, version) = moved.stored.ok_or(FaultCode::DOWNLOAD_FAILURE)?;
    let sha256 = file.sha256;
    // Of one that tells none, the beginning of its checksum: as long as a version may be.
    let version = match version.len() <= 32 {
        true => version,
        false => sha256.chars().take(12).collect(),
    };
    Ok(Fetched { version, sha256 })
}

/// Fetches or sends the file.
pub(super) async fn perform(device: &Device, transfer: &Transfer) -> Result<Moved, FaultCode> {
    let options = ClientOptions {
        username: transfer.username.clone(),
        password: transfer.password.clone(),
        authentication: AuthStyle::Challenge,
        connection_per_turn: false,
        chunked: false,
        gzip: false,
        cookies: CookieStyle::Plain,
        timeout: Duration::from_secs(300),
        tls: device.shared.tls.clone(),
        meter: None,
    };
    let mut client =
        Client::new(&transfer.url, options).map_err(|_| FaultCode::TRANSFER_PROTOCOL)?;
    let (method, body) = match transfer.download {
        true => (Method::GET, Bytes::new()),
        false => (Method::PUT, content(device, &transfer.file_type)),
    };
    let sent = hex(&Sha256::digest(&body));
    let answer = client.request(method, &HeaderMap::new(), body).await;
    let answer = answer.map_err(|error| match error {
        HttpError::Connect { .. } => FaultCode::CONTACT_FILE_SERVER,
        _ if transfer.download => FaultCode::INCOMPLETE_DOWNLOAD,
        _ => FaultCode::UPLOAD_FAILURE,
    })?;
    match answer.status.as_u16() {
        200..=299 => {}
        401 | 403 => return Err(FaultCode::TRANSFER_AUTHENTICATION),
        404 | 410 if transfer.download => return Err(FaultCode::ACCESS_FILE),
        _ if transfer.download => return Err(FaultCode::DOWNLOAD_FAILURE),
        _ => return Err(FaultCode::UPLOAD_FAILURE),
    }
    if !transfer.download {
        return Ok(Moved {
            sha256: sent,
            stored: None,
        });
    }
    let expected = transfer.file_size as usize;
    if expected > answer.body.len() {
        return Err(FaultCode::INCOMPLETE_DOWNLOAD);
    }
    if expected != 0 && expected < answer.body.len() {
        return Err(FaultCode::FILE_CORRUPTED);
    }
    let (file, version) = store(device, transfer, answer.body);
    Ok(Moved {
        sha256: file.sha256.clone(),
        stored: Some((file, version)),
    })
}

fn store(device: &Device, transfer: &Transfer, body: Bytes) -> (StoredFile, String) {
    let sha256 = hex(&Sha256::digest(&body));
    let version = version(&body).unwrap_or_else(|| sha256[..12].to_owned());
    let file = StoredFile {
        file_type: transfer.file_type.clone(),
        url: transfer.url.clone(),
        size: body.len() as u64,
        sha256,
        content: device.shared.keep_files.then_some(body),
    };
    (file, version)
}

/// The version that a file's first line tells: `version=2.1.0`.
fn version(body: &[u8]) -> Option<String> {
    let line = body.split(|b| *b == b'\n').next()?;
    let version = std::str::from_utf8(line.get(..line.len().min(128))?).ok()?;
    let version = version.trim().strip_prefix("version=")?.trim();
    (!version.is_empty() && version.len() <= 64).then(|| version.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What a device uploads: its settings without secrets, or its log.
fn content(device: &Device, file_type: &str) -> Bytes {
    let state = device.state.lock();
    let number = file_type.split(' ').next().unwrap_or_default();
    let mut out = format!("# {} of {}\n", file_type, device.serial());
    if matches!(number, "2" | "4") {
        let ledger = &state.ledger;
        for (method, count) in ledger.counts() {
            out.push_str(&format!("{method} executed {count} times\n"));
        }
        out.push_str(&format!(
            "{} sessions, {} boots\n",
            ledger.sessions, ledger.boots
        ));
        return out.into();
    }
    let tree = &state.tree;
    for path in tree.parameters("") {
        if tree
            .leaf(path)
            .is_some_and(|leaf| leaf.writable && !leaf.secret)
        {
            out.push_str(&format!(
                "{path}={}\n",
                tree.value(path).unwrap_or_default()
            ));
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_may_tell_its_version() {
        assert_eq!(version(b"version=2.1.0\nrest").unwrap(), "2.1.0");
        assert_eq!(version(b"version= 2 \r\n").unwrap(), "2");
        assert_eq!(version(b"version=\n"), None);
        assert_eq!(version(b"\xff\xfe"), None);
        assert_eq!(version(b""), None);
    }
}
