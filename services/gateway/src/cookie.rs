//! The session cookie: all that a gateway knows of a session, sealed, so that any replica serves
//! any turn.
//!
//! `hs=` and base64url of what [`Sealer`] makes of these bytes, big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 1: workflow is asked at the device's empty POST; 2: it has said that nothing is open; 3, 4: the same, and the device has quirks |
//! | 0 or 2 | with 3 and 4: the quirks |
//! | 16 | session id |
//! | 4 | state of the session machine |
//! | 1 | CWMP namespace (the N of `cwmp-1-N`) |
//! | 8 | epoch |
//! | 4 | when the session began, seconds since 1970 |
//! | 4 | when it was last heard of, ms after that |
//! | 2 | seconds of silence that end it |
//! | 8 | start of SHA-256 of the user that was proved |
//! | 1 + | request in flight: 0 none; 1 then task (16), attempt (4), step (2); 2 then length (1), text |
//! | 1 + | length of the tenant, tenant |
//! | + | device |
//!
//! That is at most [`USUAL`] characters with the name where tenant and device id together have up
//! to 84 bytes, as nearly all have. Longer ids make it longer, up to [`MAX`]: the 512 bytes that a
//! CPE must hold (TR-069 3.4.3). A device whose id doesn't fit even then is refused at its Inform.

use hearth_auth::Sealer;
use hearth_cwmp::Namespace;
use hearth_cwmp::session::State;
use hearth_types::{DeviceKey, TaskId, TenantId};
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::quirks::Quirks;

/// Longest cookie for usual ids, name included.
#[cfg(test)]
const USUAL: usize = 256;
/// Longest cookie, name included.
const MAX: usize = 512;
/// Bytes of tenant and device id that a cookie has room for beside all the rest.
pub(crate) const MAX_IDENTITY: usize = 270;

/// The layout, of a session whose empty POST asks workflow.
const ASK: u8 = 1;
/// The same layout, of a session without open tasks. A gateway that doesn't know it refuses the
/// cookie, and the device informs again.
const IDLE: u8 = 2;
/// The same two, of a device with quirks. Where there are none, the cookie is what it was before
/// there were any.
const ASK_WITH_QUIRKS: u8 = 3;
const IDLE_WITH_QUIRKS: u8 = 4;
const NAME: &str = "hs";
/// Binds a sealed value to this use and layout.
pub(crate) const PLACE: &[u8] = b"session-cookie-1";
/// Cookies of our name that are tried in one request; CPEs send stale ones along.
const MAX_TRIED: usize = 8;

/// The start of SHA-256 of a user's name: tells whether a later turn comes from the same user.
pub(crate) type UserMark = [u8; 8];

/// The mark of a user.
pub(crate) fn user_mark(username: &str) -> UserMark {
    let mut mark = UserMark::default();
    let length = mark.len();
    mark.copy_from_slice(&Sha256::digest(username.as_bytes())[..length]);
    mark
}

/// The cwmp:ID of the request in flight.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum InFlight {
    /// None.
    #[default]
    None,
    /// `{task}.{attempt}.{step}`
    Task {
        task: TaskId,
        attempt: u32,
        step: u16,
    },
    /// Another text of at most 255 bytes.
    Text(String),
}

impl InFlight {
    pub(crate) fn of(id: &str) -> Self {
        let task = || {
            let mut parts = id.splitn(3, '.');
            let read = Self::Task {
                task: parts.next()?.parse().ok()?,
                attempt: parts.next()?.parse().ok()?,
                step: parts.next()?.parse().ok()?,
            };
            // Only if it is written back as it was: `01` is not `1`.
            (read.text().as_deref() == Some(id)).then_some(read)
        };
        match task() {
            Some(task) => task,
            None if id.is_empty() => Self::None,
            None => Self::Text(id.chars().take(40).collect()),
        }
    }

    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Task {
                task,
                attempt,
                step,
            } => Some(format!("{task}.{attempt}.{step}")),
            Self::Text(text) => Some(text.clone()),
        }
    }
}

/// A session as its cookie tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub id: Ulid,
    pub state: State,
    pub namespace: Namespace,
    pub epoch: u64,
    /// µs since 1970, in whole seconds.
    pub started: i64,
    /// µs since 1970, in whole milliseconds.
    pub last_turn: i64,
    pub idle_secs: u16,
    pub user: UserMark,
    pub in_flight: InFlight,
    /// Whether workflow is to be asked at the device's empty POST. Not, while all that it has said
    /// is its Inform and workflow knew of no open task then: a task made since wakes the device.
    pub ask: bool,
    /// How what goes to the device is written.
    pub quirks: Quirks,
    pub tenant: TenantId,
    /// The device's id as text; parsed where it is needed as a key.
    pub device: String,
}

impl Session {
    /// The id as text: 26 lower-case characters.
    pub(crate) fn id_text(&self) -> String {
        session_text(self.id)
    }

    /// The device as a key. Fails for no cookie of ours.
    pub(crate) fn key(&self) -> Result<DeviceKey, hearth_types::Invalid> {
        Ok(DeviceKey::new(self.tenant.clone(), self.device.parse()?))
    }

    /// Whether it is over by silence or by age, at `now` (µs).
    fn is_over(&self, now: i64, session_max_secs: u64) -> bool {
        let max = i64::try_from(session_max_secs).unwrap_or(i64::MAX);
        now.saturating_sub(self.last_turn) > i64::from(self.idle_secs) * 1_000_000
            || now.saturating_sub(self.started) > max.saturating_mul(1_000_000)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + self.device.len());
        let bare = self.quirks == Quirks::default();
        out.push(match (bare, self.ask) {
            (true, true) => ASK,
            (true, false) => IDLE,
            (false, true) => ASK_WITH_QUIRKS,
            (false, false) => IDLE_WITH_QUIRKS,
        });
        if !bare {
            out.extend_from_slice(&self.quirks.to_bytes());
        }
        out.extend_from_slice(&self.id.to_bytes());
        out.extend_from_slice(&self.state.to_bytes());
        out.push(self.namespace.minor());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        let started = u32::try_from(self.started / 1_000_000).unwrap_or(0);
        out.extend_from_slice(&started.to_be_bytes());
        let age = (self.last_turn - i64::from(started) * 1_000_000) / 1000;
        out.extend_from_slice(&u32::try_from(age).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&self.idle_secs.to_be_bytes());
        out.extend_from_slice(&self.user);
        match &self.in_flight {
            InFlight::None => out.push(0),
            InFlight::Task {
                task,
                attempt,
                step,
            } => {
                out.push(1);
                out.extend_from_slice(&task.to_bytes());
                out.extend_from_slice(&attempt.to_be_bytes());
                out.extend_from_slice(&step.to_be_bytes());
            }
            InFlight::Text(text) => {
                out.push(2);
                push_text(&mut out, text);
            }
        }
        push_text(&mut out, self.tenant.as_str());
        out.extend_from_slice(self.device.as_bytes());
        out
    }

    /// `None` for a cookie of another version or tenant.
    fn from_bytes(bytes: &[u8], tenant: &TenantId) -> Option<Self> {
        let mut rest = bytes;
        let (ask, bare) = match take(&mut rest)? {
            [ASK] => (true, true),
            [IDLE] => (false, true),
            [ASK_WITH_QUIRKS] => (true, false),
            [IDLE_WITH_QUIRKS] => (false, false),
            _ => return None,
        };
        let quirks = match bare {
            true => Quirks::default(),
            false => Quirks::from_bytes(take(&mut rest)?)?,
        };
        let id = Ulid::from_bytes(take(&mut rest)?);
        let state = State::from_bytes(take(&mut rest)?)?;
        let [minor] = take(&mut rest)?;
        let epoch = u64::from_be_bytes(take(&mut rest)?);
        let started = i64::from(u32::from_be_bytes(take(&mut rest)?)) * 1_000_000;
        let last_turn = started + i64::from(u32::from_be_bytes(take(&mut rest)?)) * 1000;
        let idle_secs = u16::from_be_bytes(take(&mut rest)?);
        let user = take(&mut rest)?;
        let in_flight = match take(&mut rest)? {
            [0] => InFlight::None,
            [1] => InFlight::Task {
                task: TaskId::from_bytes(take(&mut rest)?),
                attempt: u32::from_be_bytes(take(&mut rest)?),
                step: u16::from_be_bytes(take(&mut rest)?),
            },
            [2] => InFlight::Text(take_text(&mut rest)?.to_owned()),
            _ => return None,
        };
        if take_text(&mut rest)? != tenant.as_str() {
            return None;
        }
        Some(Self {
            id,
            state,
            namespace: Namespace::from_minor(minor),
            epoch,
            started,
            last_turn,
            idle_secs,
            user,
            in_flight,
            ask,
            quirks,
            tenant: tenant.clone(),
            device: std::str::from_utf8(rest).ok()?.to_owned(),
        })
    }
}

/// A session's id as text: a ULID in lower case, as task ids are.
pub(crate) fn session_text(id: Ulid) -> String {
    let mut text = id.to_string();
    text.make_ascii_lowercase();
    text
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    // Both texts are shorter: tenants have up to 63 characters, ids are cut.
    let length = u8::try_from(text.len()).unwrap_or(0);
    out.push(length);
    out.extend_from_slice(
        text.as_bytes()
            .get(..usize::from(length))
            .unwrap_or_default(),
    );
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let [length] = take(rest)?;
    let (head, tail) = rest.split_at_checked(usize::from(length))?;
    *rest = tail;
    std::str::from_utf8(head).ok()
}

/// What a request's cookies amount to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No cookie of ours.
    Nothing,
    /// Ours, but the session is over by silence or age.
    Over,
    /// Of our name, but not sealed by us for this tenant: stale, cut off, or forged.
    Unreadable,
    /// A live session.
    Live(Box<Session>),
}

/// Seals and opens session cookies.
#[derive(Debug)]
pub(crate) struct Cookies {
    sealer: Sealer,
    session_max_secs: u64,
}

impl Cookies {
    pub(crate) fn new(sealer: Sealer, session_max_secs: u64) -> Self {
        Self {
            sealer,
            session_max_secs,
        }
    }

    /// The value of Set-Cookie; `None` if the session doesn't fit or can't be sealed.
    pub(crate) fn set(&self, session: &Session) -> Option<HeaderValue> {
        let text = self.sealer.seal_text(PLACE, &session.to_bytes()).ok()?;
        if NAME.len() + 1 + text.len() > MAX {
            return None;
        }
        let mut value = String::with_capacity(text.len() + 24);
        value.push_str(NAME);
        value.push('=');
        value.push_str(&text);
        value.push_str("; Path=/; HttpOnly");
        HeaderValue::try_from(value).ok()
    }

    /// The session of a request. CPEs send cookies in several headers, separated by commas,
    /// quoted, in Netscape's and RFC 2109's styles, and stale ones along: the newest that opens
    /// counts.
    pub(crate) fn find(&self, headers: &HeaderMap, tenant: &TenantId, now: i64) -> Found {
        let mut found = Found::Nothing;
        let values = headers.get_all(header::COOKIE);
        let ours = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split([';', ',']))
            .filter_map(value_of_ours)
            .take(MAX_TRIED);
        for text in ours {
            let Some(session) = self.open(text, tenant) else {
                if found == Found::Nothing {
                    found = Found::Unreadable;
                }
                continue;
            };
            let over = session.is_over(now, self.session_max_secs);
            match &found {
                Found::Live(best)
                    if over
                        || (best.epoch, best.last_turn) >= (session.epoch, session.last_turn) => {}
                _ if over => found = Found::Over,
                _ => found = Found::Live(Box::new(session)),
            }
        }
        found
    }

    fn open(&self, text: &str, tenant: &TenantId) -> Option<Session> {
        if text.len() > MAX {
            return None;
        }
        let bytes = self.sealer.open_text(PLACE, text).ok()?;
        Session::from_bytes(&bytes, tenant)
    }
}

/// The value of a `hs=…` pair, quotes taken off.
fn value_of_ours(pair: &str) -> Option<&str> {
    let (name, value) = pair.split_once('=')?;
    (name.trim() == NAME).then(|| value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests;
