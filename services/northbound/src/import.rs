//! Credentials from CSV (RFC 4180): lines as they are read, errors by line and column.

use crate::caller::Caller;
use crate::error::invalid;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::northbound::v1::ImportError;
use hearth_types::{DeviceId, ResourceName, TenantId};
use tonic::Status;

/// The most lines of one call.
const MAX_LINES: usize = 5000;
/// The columns there may be.
const COLUMNS: [&str; 5] = ["username", "password", "kind", "device", "model"];

/// What a text of CSV holds.
pub(crate) struct Read {
    /// Lines that can be kept, as far as they tell by themselves.
    pub(crate) credentials: Vec<ds::CredentialToImport>,
    /// The others.
    pub(crate) errors: Vec<ImportError>,
}

/// Reads CSV whose first line names the columns. Errors count lines from `lines_before`.
pub(crate) fn read(
    caller: &Caller,
    tenant: &TenantId,
    csv: &str,
    lines_before: u32,
) -> Result<Read, Status> {
    let csv = csv.strip_prefix('\u{feff}').unwrap_or(csv);
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::Headers)
        .from_reader(csv.as_bytes());
    let places = columns(&mut reader)?;
    let mut found = Read {
        credentials: Vec::new(),
        errors: Vec::new(),
    };
    let shift = lines_before.max(1) - 1;
    let mut lines = Lines::new(csv.as_bytes());
    for (index, record) in reader.records().enumerate() {
        if index >= MAX_LINES {
            let message =
                format!("expected at most {MAX_LINES} lines in a call; send the rest in others");
            return Err(invalid("csv", message));
        }
        let record = record.map_err(|_| invalid("csv", "is no CSV in UTF-8"))?;
        let start = record.position().map_or(0, csv::Position::byte);
        let line = lines.of(start).saturating_add(shift);
        match one(caller, tenant, &places, &record) {
            Ok((credential, password)) => found.credentials.push(ds::CredentialToImport {
                credential: Some(credential),
                password,
                line,
            }),
            Err((column, message)) => found.errors.push(ImportError {
                line,
                column: column.to_owned(),
                message,
            }),
        }
    }
    Ok(found)
}

/// Counts lines; the reader's own count is one behind where lines end in CR LF.
struct Lines<'a> {
    text: &'a [u8],
    /// Counted so far.
    at: usize,
    line: u32,
}

impl<'a> Lines<'a> {
    const fn new(text: &'a [u8]) -> Self {
        let (at, line) = (0, 1);
        Self { text, at, line }
    }

    /// The line of the record that begins at this byte, or behind the line ends there.
    fn of(&mut self, start: u64) -> u32 {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        while let Some(byte) = self.text.get(self.at) {
            if self.at >= start && !matches!(byte, b'\r' | b'\n') {
                break;
            }
            self.line += u32::from(*byte == b'\n');
            self.at += 1;
        }
        self.line
    }
}

/// The place of each column.
type Places = [Option<usize>; COLUMNS.len()];

fn columns(reader: &mut csv::Reader<&[u8]>) -> Result<Places, Status> {
    let names = reader
        .headers()
        .map_err(|_| invalid("csv", "is no CSV in UTF-8"))?;
    let mut places = [None; COLUMNS.len()];
    for (place, name) in names.iter().enumerate() {
        let known = COLUMNS
            .iter()
            .position(|column| column.eq_ignore_ascii_case(name));
        let Some(known) = known.and_then(|known| places.get_mut(known)) else {
            let message = format!(
                "its first line names a column that is not known; expected {}",
                COLUMNS.join(", ")
            );
            return Err(invalid("csv", message));
        };
        if known.replace(place).is_some() {
            return Err(invalid("csv", "its first line names a column twice"));
        }
    }
    if places[0].is_none() || places[1].is_none() {
        let message = "its first line must name the columns, at least username and password";
        return Err(invalid("csv", message));
    }
    Ok(places)
}

fn one(
    caller: &Caller,
    tenant: &TenantId,
    places: &Places,
    record: &csv::StringRecord,
) -> Result<(ds::Credential, String), (&'static str, String)> {
    let cell = |column: usize| {
        let place = places.get(column).copied().flatten();
        place
            .and_then(|place| record.get(place))
            .unwrap_or_default()
    };
    let kind = match cell(2).trim().to_ascii_lowercase().as_str() {
        "" | "device" => ds::CredentialKind::Device,
        "model" => ds::CredentialKind::Model,
        "onboarding" => ds::CredentialKind::Onboarding,
        "connection-request" | "connection_request" => ds::CredentialKind::ConnectionRequest,
        _ => {
            let message = "expected device, model, onboarding or connection-request";
            return Err(("kind", message.to_owned()));
        }
    };
    let username = cell(0).trim();
    if username.contains('/') {
        return Err(("username", "must not hold a slash".to_owned()));
    }
    Ok((
        ds::Credential {
            tenant: tenant.to_string(),
            username: username.to_owned(),
            kind: kind.into(),
            device: device(caller, tenant, cell(3).trim())?,
            model: cell(4).trim().to_owned(),
            ..ds::Credential::default()
        },
        cell(1).to_owned(),
    ))
}

/// A device by its id or its whole name.
fn device(
    caller: &Caller,
    tenant: &TenantId,
    text: &str,
) -> Result<String, (&'static str, String)> {
    let wrong = |message: String| ("device", message);
    if text.is_empty() {
        return Ok(String::new());
    }
    if text.starts_with("tenants/") {
        let name: Result<ResourceName, _> = text.parse();
        let own = name.is_ok_and(|name| name.tenant() == tenant);
        let key = caller.device("device", text);
        return match key {
            Ok(key) if own => Ok(key.device.into()),
            _ => Err(wrong(format!(
                "expected tenants/{tenant}/devices/{{device}}"
            ))),
        };
    }
    let id: Result<DeviceId, _> = text.parse();
    id.map(String::from).map_err(|error| {
        wrong(format!(
            "{}; expected OUI-ProductClass-SerialNumber",
            error.reason
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::caller::{Role, TenantScope};

    fn read_text(csv: &str, lines_before: u32) -> Result<Read, Status> {
        let caller = Caller {
            tenants: TenantScope::All,
            role: Role::Admin,
        };
        read(&caller, &TenantId::default(), csv, lines_before)
    }

    #[test]
    fn columns_come_in_any_order_and_errors_name_line_and_column() {
        let csv = "\u{feff}Password, username,device,kind\r\n\
                   \"a,\"\"b\",u1,00D09E-X-1,\r\n\
                   p,u2,nonsense,device\r\n\
                   p,u3,,owner\r\n\
                   p,a/b,,onboarding\r\n\
                   p,acs,,connection-request\r\n";
        let found = read_text(csv, 0).unwrap();
        let kept: Vec<_> = found.credentials.iter().map(|one| one.line).collect();
        assert_eq!(kept, [2, 6]);
        assert_eq!(found.credentials[0].password, "a,\"b");
        let wrong: Vec<_> = found
            .errors
            .iter()
            .map(|e| (e.line, e.column.as_str()))
            .collect();
        assert_eq!(wrong, [(3, "device"), (4, "kind"), (5, "username")]);
        let later = read_text("username,password\nu,p\nu/,p\n", 5001).unwrap();
        assert_eq!(
            (later.credentials[0].line, later.errors[0].line),
            (5002, 5003)
        );
    }

    #[test]
    fn what_is_no_table_is_refused_as_a_whole() {
        for bad in [
            "",
            "username\nu\n",
            "username,password,shoe\n",
            "username,password,username\n",
        ] {
            assert!(read_text(bad, 0).is_err(), "{bad}");
        }
        let many = "username,password\n".to_owned() + &"u,p\n".repeat(MAX_LINES + 1);
        assert!(read_text(&many, 0).is_err());
    }
}
