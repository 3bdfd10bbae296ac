//! The credential of one transfer. Nothing is kept for it: the user name holds
//! task and expiry, and the password is a MAC over them and what may be
//! transferred, so that any replica can check it and it opens nothing else.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hearth_types::{TaskId, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To a device.
    Download,
    /// From a device.
    Upload,
}

impl Direction {
    /// In metrics and in the MAC.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
        }
    }
}

/// What a ticket is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket<'a> {
    pub direction: Direction,
    pub tenant: &'a str,
    pub file: &'a str,
    pub task: TaskId,
    /// Seconds since the epoch.
    pub expires: i64,
}

impl<'a> Ticket<'a> {
    /// The ticket that a user name stands for, at a file's URL.
    pub fn of_user(
        user: &str,
        direction: Direction,
        tenant: &'a str,
        file: &'a str,
    ) -> Option<Self> {
        let (task, expires) = user.split_once('.')?;
        Some(Self {
            direction,
            tenant,
            file,
            task: task.parse().ok()?,
            expires: i64::from_str_radix(expires, 16).ok()?,
        })
    }

    /// `{task}.{expiry in hexadecimal}`
    pub fn username(&self) -> String {
        format!("{}.{:x}", self.task, self.expires)
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now.as_micros() / 1_000_000 > self.expires
    }

    /// 32 characters.
    pub fn password(&self, key: &[u8; 32]) -> String {
        // HMAC takes keys of any length; 32 bytes never fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
            return String::new();
        };
        let user = self.username();
        for part in [self.direction.label(), self.tenant, self.file, &user] {
            mac.update(part.as_bytes());
            mac.update(&[0]);
        }
        URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..24])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_ticket_opens_its_own_file_only() {
        let task = TaskId::generate();
        let ticket = |file| Ticket {
            direction: Direction::Download,
            tenant: "default",
            file,
            task,
            expires: 1_800_000_000,
        };
        let key = [7; 32];
        let password = ticket("a").password(&key);
        assert_eq!(password.len(), 32);
        assert_ne!(password, ticket("b").password(&key));
        assert_ne!(password, ticket("a").password(&[8; 32]));
        let user = ticket("a").username();
        let read = Ticket::of_user(&user, Direction::Download, "default", "a").unwrap();
        assert_eq!(read, ticket("a"));
        let upload = Ticket::of_user(&user, Direction::Upload, "default", "a").unwrap();
        assert_ne!(upload.password(&key), password);
    }

    #[test]
    fn foreign_names_are_no_tickets() {
        for user in ["", "admin", "x.y", "01hzy3v7k2q4w6e8r0t2y4a6d8.zz"] {
            assert_eq!(Ticket::of_user(user, Direction::Download, "t", "f"), None);
        }
    }
}
