//! What is broken: an installation with named members, which can be killed, held, started and cut
//! off. The harness knows nothing else of it than this.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;

use super::proxy::Mode;

/// Where an installation is reached.
#[derive(Clone, Debug)]
pub struct Front {
    /// The URL that devices are given.
    pub acs: String,
    /// The API's URL.
    pub api: String,
    /// The file with the API's token.
    pub token: PathBuf,
}

/// Something that is done to an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL to a member.
    Kill(String),
    /// SIGTERM to a member, and its end is waited for.
    Stop(String),
    /// Starts a member that was killed or stopped.
    Start(String),
    /// SIGSTOP to a member.
    Pause(String),
    /// SIGCONT to a member.
    Resume(String),
    /// Sets the links to a member, or to all of a group.
    Link(String, Mode),
    /// Deletes everything in a member of the group `redis`.
    Flush(String),
    /// Fills the store of a member of the group `nats` or `redis`.
    Fill(String),
    /// Takes out again what [`Action::Fill`] has put in these members, and starts those again that
    /// gave up.
    Drain(Vec<String>),
}

impl Action {
    /// These, with those in one that may wait for each other.
    pub fn together(actions: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let (mut together, mut drained) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Self::Drain(members) => drained.extend(members),
                other => together.push(other),
            }
        }
        together.extend((!drained.is_empty()).then_some(Self::Drain(drained)));
        together
    }
}

/// An installation under test.
pub trait Subject {
    /// Where it is reached.
    fn front(&self) -> Front;

    /// The names of its members: `gateway-1`, `nats-3`. What stands before the last dash is the
    /// group.
    fn members(&self) -> Vec<String>;

    /// The names of the links that can be cut; none without a proxy.
    fn links(&self) -> Vec<String>;

    /// Of these members of a group the one that matters most: the primary of the Redis servers.
    /// `None` where all are alike.
    fn primary(&mut self, members: &[String]) -> impl Future<Output = Option<String>>;

    /// Does it, and waits until it is done; not until the installation is ready again.
    ///
    /// # Errors
    /// When it can't be done.
    fn act(&mut self, action: &Action) -> impl Future<Output = Result<()>>;

    /// Whether every member says that it is ready.
    fn ready(&mut self) -> impl Future<Output = bool>;

    /// Lines of its logs that tell of a panic, and members that ended by themselves.
    fn accidents(&mut self) -> impl Future<Output = Vec<String>>;
}

/// The group of a member: its name without its number.
pub fn group(member: &str) -> &str {
    member.rsplit_once('-').map_or(member, |(group, _)| group)
}

/// Whether a GET of this path is answered with 200 within a second.
pub async fn answers(address: SocketAddr, path: &str) -> bool {
    crate::kill::process::answers(address, path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_name_without_its_number() {
        assert_eq!(group("device-state-2"), "device-state");
        assert_eq!(group("haproxy"), "haproxy");
    }

    #[test]
    fn full_disks_get_their_space_at_once() {
        let of = |name: &str| vec![name.to_owned()];
        let resume = Action::Resume("nats-3".to_owned());
        let ends = [
            Action::Drain(of("nats-1")),
            resume.clone(),
            Action::Drain(of("nats-2")),
        ];
        let all = Action::Drain(vec!["nats-1".to_owned(), "nats-2".to_owned()]);
        assert_eq!(Action::together(ends), [resume, all]);
        assert!(Action::together([]).is_empty());
    }
}
