//! Captured sessions: what device and server say to each other, as text without secrets.
//!
//! Which sessions are captured comes with the tenant's policy, so that nothing is asked for it; as
//! long as nobody captures anything, a turn costs one look at a flag. What leaves here is redacted
//! (`hearth_cwmp::redact`): a body whose secrets can't be found is not in it.

mod rules;
mod text;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use hearth_cwmp::redact::Known;
use hearth_cwmp::{CpeRequest, Message};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;
use hearth_types::{DeviceId, TenantId};
use http::request::Parts;
use parking_lot::Mutex;
use ulid::Ulid;

use crate::cookie::{Session, session_text};
use crate::edge::Turn;
use crate::heard::Heard;
use crate::http::Reply;
use crate::refusal::Refusal;
use rules::Wanted;

/// Text of one session, in bytes; beyond, turns are only named.
const MAX_SESSION: usize = 1 << 20;
/// Text that waits for the bus; beyond, turns are lost.
const MAX_WAITING: usize = 32 << 20;
/// A session that was silent so long, in µs, is not followed any more.
const FORGOTTEN: i64 = 600_000_000;
/// Sessions that are followed at once.
const MAX_FOLLOWED: usize = 10_000;
/// For so long, in µs, sessions that this process began may not be counted elsewhere.
const UNCOUNTED: i64 = 10_000_000;

/// How a session is captured.
#[derive(Clone)]
struct Way {
    captures: Vec<String>,
    /// The tenant's rules when it began: they hold after the captures' end, too.
    wanted: Arc<Wanted>,
    known: Arc<Mutex<Known>>,
    /// Whether all of it came here: then all its secrets are known.
    whole: bool,
    /// The session has had its text: only the heads of turns.
    spent: bool,
}

/// A session that is captured.
struct Followed {
    way: Way,
    bytes: usize,
    last: i64,
}

/// The device's half of a turn.
pub(crate) struct Taken {
    way: Way,
    /// Begun with this turn.
    begun: bool,
    half: text::Half,
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Taken({} bytes)", self.half.text.len())
    }
}

/// A part on its way.
pub(crate) struct Part {
    pub tenant: TenantId,
    pub device: String,
    pub session: String,
    pub time: i64,
    pub told: ev::CapturePart,
}

/// What is captured, and of whom.
#[derive(Default)]
pub(crate) struct Captures {
    any: AtomicBool,
    wanted: Mutex<HashMap<TenantId, Arc<Wanted>>>,
    followed: Mutex<HashMap<u128, Followed>>,
    /// Sessions begun lately, by capture.
    begun: Mutex<Vec<(String, i64)>>,
    waiting: Mutex<Vec<Part>>,
    held: AtomicUsize,
}

impl Captures {
    /// A tenant's policy was read.
    pub(crate) fn learn(&self, tenant: &TenantId, answer: &ds::GetEdgePolicyResponse) {
        let any = self.any.load(Relaxed);
        if answer.captures.is_empty() && !any {
            return;
        }
        let mut wanted = self.wanted.lock();
        match answer.captures.is_empty() {
            true => wanted.remove(tenant),
            false => wanted.insert(tenant.clone(), Arc::new(Wanted::of(answer))),
        };
        let followed = !self.followed.lock().is_empty();
        self.any.store(followed || !wanted.is_empty(), Relaxed);
    }

    /// Takes the device's half of a turn, if its session is captured.
    pub(crate) fn take(
        &self,
        turn: &Turn,
        parts: &Parts,
        body: &[u8],
        heard: &Heard,
        session: Option<&Session>,
    ) -> Option<Arc<Taken>> {
        if !self.any.load(Relaxed) {
            return None;
        }
        let inform = inform(heard);
        let way = match inform {
            Some(inform) => self.way_of_inform(turn, inform)?,
            None => self.way_of_turn(turn, session?)?,
        };
        let half = text::of_device(parts, body, heard, &way.redactor());
        let begun = inform.is_some();
        Some(Arc::new(Taken { way, begun, half }))
    }

    fn way_of_inform(&self, turn: &Turn, inform: &hearth_cwmp::Inform) -> Option<Way> {
        let id = &inform.device_id;
        let device = DeviceId::new(id.oui.trim(), &id.product_class, &id.serial_number).ok()?;
        let software = rules::software(inform);
        let way = self.fitting(turn, turn.now, &device, Some(software))?;
        Some(Way { whole: true, ..way })
    }

    fn way_of_turn(&self, turn: &Turn, session: &Session) -> Option<Way> {
        if let Some(followed) = self.followed.lock().get(&session.id.0) {
            let spent = followed.bytes > MAX_SESSION;
            let way = followed.way.clone();
            return Some(Way { spent, ..way });
        }
        // Begun at another gateway: whether it counts is device-state's to say.
        let device = session.key().ok()?.device;
        self.fitting(turn, session.started, &device, None)
    }

    /// The captures that take a session.
    fn fitting(
        &self,
        turn: &Turn,
        started: i64,
        device: &DeviceId,
        software: Option<&str>,
    ) -> Option<Way> {
        let wanted = self.wanted.lock().get(&turn.tenant).cloned()?;
        let mut begun = self.begun.lock();
        begun.retain(|(_, at)| turn.now.saturating_sub(*at) < UNCOUNTED);
        let free = |capture: &&rules::Active| {
            let ours = begun.iter().filter(|(id, _)| *id == capture.id).count();
            ours < capture.left
        };
        let captures: Vec<_> = wanted
            .captures
            .iter()
            .filter(|capture| capture.takes(turn.now, started, device, software))
            .filter(free)
            .map(|capture| capture.id.clone())
            .collect();
        drop(begun);
        (!captures.is_empty()).then(|| Way {
            captures,
            wanted,
            known: Arc::default(),
            whole: false,
            spent: false,
        })
    }

    /// A turn was answered; with `over` its session has ended.
    pub(crate) fn answered(&self, turn: &Turn, session: &Session, over: bool, reply: &Reply) {
        if let Some(taken) = &turn.note.taken {
            let server = text::of_server(reply, &taken.way.redactor());
            self.tell(turn, session, taken, &server, over);
        }
    }

    /// A turn was refused.
    pub(crate) fn refused(&self, turn: &Turn, session: &Session, refusal: &Refusal) {
        if let Some(taken) = &turn.note.taken {
            let server = text::refused(refusal);
            self.tell(turn, session, taken, &server, false);
        }
    }

    fn tell(&self, turn: &Turn, session: &Session, taken: &Taken, server: &text::Half, over: bool) {
        let number = session.state.turns();
        let id = session_text(session.id);
        let text = text::whole(&id, &session.device, number, turn.now, &taken.half, server);
        self.follow(session.id, &taken.way, turn.now, text.len(), over);
        if taken.begun {
            let mut begun = self.begun.lock();
            begun.extend(taken.way.captures.iter().map(|id| (id.clone(), turn.now)));
        }
        if self.held.fetch_add(text.len(), Relaxed) > MAX_WAITING {
            self.held.fetch_sub(text.len(), Relaxed);
            turn.edge.timeline.metrics.dropped("capture");
            return;
        }
        self.waiting.lock().push(Part {
            tenant: session.tenant.clone(),
            device: session.device.clone(),
            session: id,
            time: turn.now,
            told: ev::CapturePart {
                captures: taken.way.captures.clone(),
                turn: number.into(),
                text,
                cut: taken.half.cut || server.cut || taken.way.spent,
            },
        });
    }

    fn follow(&self, id: Ulid, way: &Way, now: i64, bytes: usize, over: bool) {
        let mut followed = self.followed.lock();
        if over {
            followed.remove(&id.0);
            return;
        }
        if followed.len() >= MAX_FOLLOWED && !followed.contains_key(&id.0) {
            return;
        }
        let session = followed.entry(id.0).or_insert_with(|| Followed {
            way: way.clone(),
            bytes: 0,
            last: now,
        });
        session.bytes += bytes;
        session.last = now;
    }

    /// Parts that are to be told now.
    pub(crate) fn due(&self, now: i64) -> Vec<Part> {
        if !self.any.load(Relaxed) && self.held.load(Relaxed) == 0 {
            return Vec::new();
        }
        let mut followed = self.followed.lock();
        followed.retain(|_, session| now.saturating_sub(session.last) < FORGOTTEN);
        drop(followed);
        std::mem::take(&mut *self.waiting.lock())
    }

    /// A part is no longer held.
    pub(crate) fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
    }
}

impl Way {
    fn redactor(&self) -> text::Redactor<'_> {
        text::Redactor {
            known: &self.known,
            wanted: &self.wanted,
            strict: !self.whole,
            keep: !self.spent,
        }
    }
}

/// The Inform of what was heard.
fn inform(heard: &Heard) -> Option<&hearth_cwmp::Inform> {
    match &heard.decoded {
        Some(Ok(decoded)) => match &decoded.envelope.message {
            Message::CpeRequest(CpeRequest::Inform(inform)) => Some(inform),
            _ => None,
        },
        _ => None,
    }
}
