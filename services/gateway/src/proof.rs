//! What proves who is at the other end: made at the door, judged at the Inform.
//!
//! How it is used:
//! 1. `edge::enter` makes one [`Proof`] for each request, of all that the request and its
//!    connection prove: the user of credentials that were verified, and the client certificate of
//!    the connection (or the one that a trusted proxy passed on).
//! 2. [`Proof::opens`] says whether that is enough to read an Inform at all; if not, 401.
//! 3. `inform` asks [`Proof::check`] whether the certificate is for the Inform's DeviceId, and, where
//!    there is a user, device-state whether the user may be this device. Both must agree.
//! 4. [`Proof::mark`] goes into the session's cookie. A later turn that shows a proof is checked
//!    against the session's device; one that shows none is the cookie's.
//!
//! A line (`line.rs`) opens where the tenant's policy says so, and is judged by device-state with
//! the rest. What else may prove a device becomes a field here and a line in `opens` and `check`.

use std::sync::Arc;

use hearth_types::DeviceId;

use crate::auth::When;
use crate::cookie::{Session, UserMark, user_mark};
use crate::edge::Turn;
use crate::line::Line;
use crate::refusal::Refusal;

/// All that is proved about the sender of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proof {
    /// Whose credentials they were (TR-069 3.4.5).
    pub user: Option<String>,
    /// The verified client certificate.
    pub certificate: Option<Arc<Certificate>>,
    /// Credentials and a certificate are needed, both.
    pub certificate_beside: bool,
    /// The line that it comes on, where one is known.
    pub line: Option<Line>,
    /// The line alone lets it in (the tenant's policy).
    pub line_alone: bool,
}

/// A verified client certificate, as far as it says who shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// For whom it was made.
    pub subject: Subject,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub fingerprint: String,
}

/// For whom a certificate was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// One device: CN or SAN is `OUI-ProductClass-Serial` or `OUI-Serial` (TR-069 3.4.4).
    Device(DeviceId),
    /// Every device of a model shares it, so that it proves the model only.
    Model {
        /// Its OUI, in capitals.
        oui: String,
        /// Its product class; empty for every one of the OUI.
        product_class: String,
    },
    /// It is signed by a trust anchor and says nothing of a device.
    Other(String),
}

impl Proof {
    /// Whether an Inform may be read.
    pub(crate) fn opens(&self) -> bool {
        self.user.is_some()
            || (!self.certificate_beside && self.device().is_some())
            || (self.line_alone && self.line.is_some())
    }

    /// Whether a certificate of the device's own was shown.
    pub(crate) fn has_own_certificate(&self) -> bool {
        self.device().is_some()
    }

    /// The device of a device's own certificate.
    fn device(&self) -> Option<&DeviceId> {
        match &self.certificate.as_ref()?.subject {
            Subject::Device(device) => Some(device),
            _ => None,
        }
    }

    /// Whether the certificate, if there is or must be one, is for this device.
    ///
    /// # Errors
    /// [`Refusal::Identity`] if not.
    pub(crate) fn check(&self, device: &DeviceId) -> Result<(), Refusal> {
        let refuse = |why: String| Err(Refusal::Identity(format!("{device}: {why}")));
        let Some(certificate) = &self.certificate else {
            return match self.certificate_beside {
                true => refuse("a client certificate is needed".to_owned()),
                false => Ok(()),
            };
        };
        match &certificate.subject {
            Subject::Device(own) if is_for(own, device) => Ok(()),
            Subject::Device(own) => refuse(format!("the client certificate is for {own}")),
            Subject::Model { oui, product_class } => {
                let (of, class, _) = device.parts();
                let same = of == *oui && (product_class.is_empty() || class == *product_class);
                match same {
                    true => Ok(()),
                    false => refuse(format!(
                        "the client certificate is for the model {oui} {product_class:?}"
                    )),
                }
            }
            Subject::Other(name) if self.certificate_beside => {
                refuse(format!("the client certificate names no device: {name}"))
            }
            Subject::Other(_) => Ok(()),
        }
    }

    /// What it is made of, for the record: `credential`, `certificate`, or both joined by `+`. A
    /// model's certificate is `model_certificate`; one that names no device proves nothing.
    pub(crate) fn label(&self) -> String {
        let credential = self.user.as_ref().map(|_| "credential");
        let shown = self.certificate.as_ref().map(|shown| &shown.subject);
        let certificate = match shown {
            Some(Subject::Device(_)) => Some("certificate"),
            Some(Subject::Model { .. }) => Some("model_certificate"),
            Some(Subject::Other(_)) | None => None,
        };
        let line = self.line.as_ref().map(|_| "line");
        let parts: Vec<&str> = [credential, certificate, line]
            .into_iter()
            .flatten()
            .collect();
        parts.join("+")
    }

    /// Tells in a cookie whose session it is.
    pub(crate) fn mark(&self) -> UserMark {
        match (&self.user, self.device()) {
            (Some(user), _) => user_mark(user),
            // No user's name begins with a zero byte that ends in a device's id.
            (None, Some(device)) => user_mark(&format!("\0certificate\0{device}")),
            (None, None) => user_mark(""),
        }
    }
}

impl Turn {
    /// What a turn in mid-session proves must be right for its device; nothing is needed. Another
    /// user is normal when the CPE was just given new credentials; it must be one who may be this
    /// device. A client certificate must be the device's.
    pub(crate) async fn check_proof(
        &self,
        session: &mut Session,
        proof: &Proof,
    ) -> Result<(), Refusal> {
        let checked = async {
            if proof.certificate.is_some() {
                let key = session.key().map_err(|_| Refusal::OtherUser)?;
                proof.check(&key.device)?;
            }
            let mark = proof.mark();
            if proof.user.is_none() || mark == session.user {
                return Ok(None);
            }
            let auth = &self.edge.auth;
            let when = When::InSession;
            auth.check_identity(&self.tenant, proof, &session.device, when, ("", ""))
                .await?;
            Ok(Some(mark))
        };
        match checked.await {
            Ok(mark) => {
                session.user = mark.unwrap_or(session.user);
                Ok(())
            }
            Err(Refusal::Identity(_)) => Err(Refusal::OtherUser),
            Err(other) => Err(other),
        }
    }
}

/// A certificate without a product class is for the device of that serial number in any: its maker
/// counts over the whole OUI.
fn is_for(certificate: &DeviceId, device: &DeviceId) -> bool {
    if certificate == device {
        return true;
    }
    let (oui, class, serial) = certificate.parts();
    let (device_oui, _, device_serial) = device.parts();
    class.is_empty() && oui == device_oui && serial == device_serial
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn proof(subject: Subject) -> Proof {
        Proof {
            certificate: Some(Arc::new(Certificate {
                subject,
                fingerprint: String::new(),
            })),
            ..Proof::default()
        }
    }

    fn device(text: &str) -> DeviceId {
        text.parse().unwrap()
    }

    #[test]
    fn a_devices_certificate_is_for_that_device() {
        let own = proof(Subject::Device(device("0000CA-Router-0001")));
        assert!(own.opens());
        assert!(own.check(&device("0000CA-Router-0001")).is_ok());
        for other in ["0000CA-Router-0002", "0000CB-Router-0001", "0000CA-0001"] {
            assert!(own.check(&device(other)).is_err(), "{other}");
        }
        let classless = proof(Subject::Device(device("0000ca-0001")));
        assert!(classless.check(&device("0000CA-Router-0001")).is_ok());
        assert!(classless.check(&device("0000CA-Router-0002")).is_err());
        assert_ne!(own.mark(), classless.mark());
    }

    #[test]
    fn a_models_certificate_opens_nothing_alone() {
        let model = proof(Subject::Model {
            oui: "0000CA".to_owned(),
            product_class: "Router".to_owned(),
        });
        assert!(!model.opens());
        assert!(model.check(&device("0000CA-Router-0001")).is_ok());
        assert!(model.check(&device("0000CA-Other-0001")).is_err());
        assert!(model.check(&device("0000CB-Router-0001")).is_err());
    }

    #[test]
    fn beside_means_both() {
        let mut own = proof(Subject::Device(device("0000CA-Router-0001")));
        own.certificate_beside = true;
        assert!(!own.opens());
        own.user = Some("cpe".to_owned());
        assert!(own.opens() && own.check(&device("0000CA-Router-0001")).is_ok());
        assert_eq!(own.label(), "credential+certificate");
        own.certificate = None;
        assert!(own.check(&device("0000CA-Router-0001")).is_err());
        let mut other = proof(Subject::Other("CN=x".to_owned()));
        assert!(other.check(&device("0000CA-Router-0001")).is_ok());
        other.certificate_beside = true;
        assert!(other.check(&device("0000CA-Router-0001")).is_err());
    }
}
