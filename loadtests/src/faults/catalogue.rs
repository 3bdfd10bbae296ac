//! The faults there are, and what each does.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};

use super::proxy::{Mode, belongs};
use super::subject::{Action, group};

/// What kind of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SIGKILL; started again a little later.
    Kill,
    /// SIGSTOP for a while.
    Pause,
    /// Connections to a group are reset and refused for a while.
    Cut,
    /// Nothing comes through to a group for a while.
    Silent,
    /// Everything to and from a group comes late for a while.
    Slow,
    /// Everything in it is deleted.
    Flush,
    /// Its store is full for a while.
    Full,
    /// Every member in turn: SIGTERM, start, until ready.
    Restart,
}

impl Kind {
    /// It happens to the links to a group, not to a member.
    pub fn is_link(self) -> bool {
        matches!(self, Self::Cut | Self::Silent | Self::Slow)
    }
}

/// A fault: its kind, and the group of members that it happens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is done.
    pub kind: Kind,
    /// To whom: the members of this group, or `all`.
    pub group: String,
}

const KINDS: [(&str, Kind); 8] = [
    ("kill", Kind::Kill),
    ("pause", Kind::Pause),
    ("cut", Kind::Cut),
    ("silent", Kind::Silent),
    ("slow", Kind::Slow),
    ("flush", Kind::Flush),
    ("full", Kind::Full),
    ("restart", Kind::Restart),
];

/// How late it comes, each way: what a part asks takes 0.6 s more.
const SLOW: Duration = Duration::from_millis(300);

/// The groups of servers that aren't Hearth's own.
pub const SERVERS: [&str; 3] = ["nats", "redis", "cassandra"];
/// Not broken by itself: there is one of it, and it stands for the operator's load balancer.
const LEFT_ALONE: [&str; 2] = ["haproxy", "proxy"];
/// All members, in `restart-all`.
pub const ALL: &str = "all";

impl Fault {
    /// Reads `kill-gateway`, `pause-nats`, `restart-all`.
    ///
    /// # Errors
    /// No such kind.
    pub fn parse(text: &str) -> Result<Self> {
        let found = text.split_once('-').and_then(|(kind, group)| {
            let kind = KINDS.iter().find(|(name, _)| *name == kind)?.1;
            let group = group.to_owned();
            Some(Self { kind, group })
        });
        match found {
            Some(fault) => Ok(fault),
            None => {
                let kinds = KINDS.map(|(name, _)| name).join(", ");
                bail!("`{text}` is no fault: KIND-GROUP, such as kill-gateway; kinds: {kinds}")
            }
        }
    }

    /// Its name: `kill-gateway`.
    pub fn name(&self) -> String {
        let kind = KINDS.iter().find(|(_, kind)| *kind == self.kind);
        format!("{}-{}", kind.map_or("", |(name, _)| name), self.group)
    }

    /// Why it can't happen to an installation with these members and links; `None` if it can.
    pub fn impossible(&self, members: &[String], links: &[String]) -> Option<String> {
        if self.group == ALL && self.kind == Kind::Restart {
            return None;
        }
        let among = |names: &[String]| names.iter().any(|name| belongs(name, &self.group));
        match self.kind {
            kind if kind.is_link() => {
                (!among(links)).then(|| format!("no proxy stands before {}", self.group))
            }
            Kind::Flush if self.group != "redis" => Some("only redis can be flushed".to_owned()),
            Kind::Full if !["nats", "redis"].contains(&self.group.as_str()) => {
                Some("only nats and redis can be filled".to_owned())
            }
            _ if !among(members) => Some(format!("there is no member {}", self.group)),
            _ => None,
        }
    }

    /// Every fault of the table that can happen to an installation with these members and links.
    pub fn table(members: &[String], links: &[String]) -> Vec<Self> {
        let groups: BTreeSet<&str> = members.iter().map(|member| group(member)).collect();
        let own = groups
            .iter()
            .filter(|name| !SERVERS.contains(name) && !LEFT_ALONE.contains(name));
        let fault = |kind, group: &str| Self {
            kind,
            group: group.to_owned(),
        };
        let mut out: Vec<_> = own.map(|group| fault(Kind::Kill, group)).collect();
        for kind in [Kind::Kill, Kind::Pause] {
            out.extend(SERVERS.map(|group| fault(kind, group)));
        }
        out.push(fault(Kind::Flush, "redis"));
        for kind in [Kind::Cut, Kind::Silent, Kind::Slow] {
            let groups: BTreeSet<&str> = links.iter().map(|link| group(link)).collect();
            out.extend(groups.into_iter().map(|group| fault(kind, group)));
        }
        out.extend(["nats", "redis"].map(|group| fault(Kind::Full, group)));
        out.push(fault(Kind::Restart, ALL));
        out.retain(|fault| fault.impossible(members, links).is_none());
        out
    }

    /// Whether the time to recover counts from its end: until then there is something that only
    /// the operator can restore.
    pub fn counts_from_its_end(&self) -> bool {
        !matches!(self.kind, Kind::Kill | Kind::Flush)
    }

    /// What is done to this member, how long it stays so, and how it is undone.
    pub fn steps(&self, member: &str, times: &Times) -> Steps {
        let member = || member.to_owned();
        let link = |mode| Action::Link(self.group.clone(), mode);
        let (begin, hold, end) = match self.kind {
            Kind::Kill => (
                Action::Kill(member()),
                times.down,
                Some(Action::Start(member())),
            ),
            Kind::Pause => (
                Action::Pause(member()),
                times.pause,
                Some(Action::Resume(member())),
            ),
            Kind::Cut => (link(Mode::Cut), times.pause, Some(link(Mode::Open))),
            Kind::Silent => (link(Mode::Silent), times.pause, Some(link(Mode::Open))),
            Kind::Slow => (link(Mode::Delay(SLOW)), times.pause, Some(link(Mode::Open))),
            Kind::Flush => (Action::Flush(member()), Duration::ZERO, None),
            Kind::Full => (
                Action::Fill(member()),
                times.pause,
                Some(Action::Drain(vec![member()])),
            ),
            Kind::Restart => (
                Action::Stop(member()),
                Duration::ZERO,
                Some(Action::Start(member())),
            ),
        };
        Steps { begin, hold, end }
    }
}

/// How long faults last.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// A killed member is dead so long before it is started again.
    pub down: Duration,
    /// A held member, a cut link, a full store.
    pub pause: Duration,
}

/// A fault at one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// It begins.
    pub begin: Action,
    /// It lasts.
    pub hold: Duration,
    /// It ends.
    pub end: Option<Action>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_read_and_written() {
        for name in [
            "kill-device-state",
            "pause-nats",
            "restart-all",
            "full-nats",
            "slow-cassandra",
        ] {
            assert_eq!(Fault::parse(name).unwrap().name(), name);
        }
        for wrong in ["gateway", "burn-gateway", ""] {
            assert!(Fault::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_table_has_what_the_installation_has() {
        let members = names(&[
            "gateway-1",
            "gateway-2",
            "device-state-1",
            "nats-1",
            "redis-1",
            "cassandra-1",
            "haproxy",
        ]);
        let table = |links: &[&str]| -> Vec<_> {
            let table = Fault::table(&members, &names(links));
            table.iter().map(Fault::name).collect()
        };
        let all = table(&["nats-1", "redis-1"]);
        assert_eq!(
            all,
            [
                "kill-device-state",
                "kill-gateway",
                "kill-nats",
                "kill-redis",
                "kill-cassandra",
                "pause-nats",
                "pause-redis",
                "pause-cassandra",
                "flush-redis",
                "cut-nats",
                "cut-redis",
                "silent-nats",
                "silent-redis",
                "slow-nats",
                "slow-redis",
                "full-nats",
                "full-redis",
                "restart-all"
            ]
        );
        for name in ["cut-nats", "slow-nats"] {
            assert!(!table(&[]).contains(&name.to_owned()), "{name}");
        }
        let one = Fault::table(&names(&["server-1"]), &[]);
        let one: Vec<_> = one.iter().map(Fault::name).collect();
        assert_eq!(one, ["kill-server", "restart-all"]);
        let fault = Fault::parse("pause-toaster").unwrap();
        assert!(fault.impossible(&members, &[]).is_some());
    }

    #[test]
    fn what_is_done_is_undone() {
        let times = Times {
            down: Duration::from_secs(2),
            pause: Duration::from_secs(30),
        };
        let steps = |name: &str| Fault::parse(name).unwrap().steps("nats-2", &times);
        let pause = steps("pause-nats");
        assert_eq!(pause.begin, Action::Pause("nats-2".to_owned()));
        assert_eq!(pause.end, Some(Action::Resume("nats-2".to_owned())));
        assert_eq!(
            (pause.hold, steps("kill-nats").hold),
            (times.pause, times.down)
        );
        let cut = steps("cut-nats");
        assert_eq!(cut.begin, Action::Link("nats".to_owned(), Mode::Cut));
        assert_eq!(cut.end, Some(Action::Link("nats".to_owned(), Mode::Open)));
        let slow = steps("slow-nats");
        let late = Mode::Delay(Duration::from_millis(300));
        assert_eq!(slow.begin, Action::Link("nats".to_owned(), late));
        assert_eq!((slow.hold, slow.end), (times.pause, cut.end));
    }
}
