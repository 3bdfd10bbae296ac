//! What a certificate says of a device (TR-069 3.4.4).

use hearth_types::DeviceId;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use super::config::{ModelCertificate, fingerprint};
use crate::proof::{Certificate, Subject};

/// The certificates that models share.
#[derive(Debug, Default)]
pub(crate) struct Models(Vec<ModelCertificate>);

impl Models {
    pub(crate) fn new(list: &[ModelCertificate]) -> Self {
        let normal = |model: &ModelCertificate| ModelCertificate {
            fingerprint: model.fingerprint.as_deref().and_then(fingerprint),
            oui: model.oui.to_ascii_uppercase(),
            ..model.clone()
        };
        Self(list.iter().map(normal).collect())
    }

    /// What a verified certificate says.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn read(&self, leaf: &CertificateDer<'_>) -> Result<Certificate, &'static str> {
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| "can't be read")?;
        let fingerprint = hex(&Sha256::digest(leaf));
        let subject = match self.model(&fingerprint, &parsed) {
            Some(model) => of_model(model),
            None => subject(&parsed),
        };
        Ok(Certificate {
            subject,
            fingerprint,
        })
    }

    /// What a common name alone says, as a proxy tells it.
    pub(crate) fn by_common_name(&self, name: &str) -> Certificate {
        let mut models = self.0.iter();
        let model = models.find(|model| model.subject.as_deref() == Some(name));
        let subject = match (model, name.parse()) {
            (Some(model), _) => of_model(model),
            (None, Ok(device)) => Subject::Device(device),
            (None, Err(_)) => Subject::Other(name.to_owned()),
        };
        Certificate {
            subject,
            fingerprint: String::new(),
        }
    }

    fn model(&self, fingerprint: &str, parsed: &X509Certificate<'_>) -> Option<&ModelCertificate> {
        let subject = common_name(parsed.subject());
        let issuer = common_name(parsed.issuer());
        self.0.iter().find(|model| match &model.fingerprint {
            Some(known) => known == fingerprint,
            None => model.subject.is_some() && model.subject == subject && model.issuer == issuer,
        })
    }
}

fn of_model(model: &ModelCertificate) -> Subject {
    Subject::Model {
        oui: model.oui.clone(),
        product_class: model.product_class.clone(),
    }
}

/// The common name, else the one device id among the alternative names.
fn subject(parsed: &X509Certificate<'_>) -> Subject {
    let name = common_name(parsed.subject()).unwrap_or_default();
    if let Ok(device) = name.parse() {
        return Subject::Device(device);
    }
    let mut devices: Vec<DeviceId> = alternative_names(parsed)
        .filter_map(|name| name.parse().ok())
        .collect();
    devices.dedup();
    match <[DeviceId; 1]>::try_from(devices) {
        Ok([device]) => Subject::Device(device),
        // Several devices: none of them.
        Err(_) => Subject::Other(parsed.subject().to_string()),
    }
}

fn alternative_names<'a>(parsed: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a str> {
    let extension = parsed.subject_alternative_name().ok().flatten();
    let names = extension.map(|extension| &extension.value.general_names);
    names.into_iter().flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some(*name),
        _ => None,
    })
}

/// The names that a server's certificate is for.
pub(crate) fn names_of(parsed: &X509Certificate<'_>) -> Vec<String> {
    let names: Vec<String> = alternative_names(parsed).map(str::to_owned).collect();
    match names.is_empty() {
        true => common_name(parsed.subject()).into_iter().collect(),
        false => names,
    }
}

/// The last common name: the most specific one.
pub(crate) fn common_name(name: &X509Name<'_>) -> Option<String> {
    let last = name.iter_common_name().last()?;
    last.as_str().ok().map(|text| text.trim().to_owned())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tls::testing::Ca;

    #[test]
    fn a_device_is_named_by_common_or_alternative_name() {
        let ca = Ca::new("Acme");
        let read = |cn: &str, alternatives: &[&str]| {
            let made = ca.issue(cn, alternatives);
            Models::default().read(made.cert.der()).unwrap().subject
        };
        let device = |text: &str| Subject::Device(text.parse().unwrap());
        let percent = "012345-Set%2DTop%2DBox-0123456789";
        assert_eq!(read(percent, &[]), device(percent));
        assert_eq!(read("0000ca-0001", &[]), device("0000CA-0001"));
        assert_eq!(
            read("router.acme.example", &["0000CA-Router-0001"]),
            device("0000CA-Router-0001")
        );
        for (cn, names) in [
            ("router.acme.example", &[][..]),
            ("012345-Set-Top-Box-0123456789", &[]),
            ("x", &["0000CA-Router-0001", "0000CA-Router-0002"]),
        ] {
            assert!(matches!(read(cn, names), Subject::Other(_)), "{cn}");
        }
    }

    #[test]
    fn a_models_certificate_is_not_a_devices() {
        let ca = Ca::new("Acme");
        let made = ca.issue("0000CA-Router-0001", &[]);
        let print = hex(&Sha256::digest(made.cert.der()));
        let with_colons: Vec<String> = print
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
            .collect();
        let model = |fingerprint: Option<String>, subject: Option<&str>| ModelCertificate {
            fingerprint,
            subject: subject.map(str::to_owned),
            issuer: Some("Acme".to_owned()),
            oui: "0000ca".to_owned(),
            product_class: "Router".to_owned(),
        };
        for rule in [
            model(Some(with_colons.join(":")), None),
            model(None, Some("0000CA-Router-0001")),
        ] {
            let read = Models::new(&[rule]).read(made.cert.der()).unwrap();
            let expected = Subject::Model {
                oui: "0000CA".to_owned(),
                product_class: "Router".to_owned(),
            };
            assert_eq!(read.subject, expected);
            assert_eq!(read.fingerprint, print);
        }
        let rule = model(None, Some("0000CA-Router"));
        let told = Models::new(&[rule]);
        let subject = |name: &str| told.by_common_name(name).subject;
        assert!(matches!(subject("0000CA-Router"), Subject::Model { .. }));
        assert!(matches!(subject("0000CA-Router-1"), Subject::Device(_)));
        assert!(matches!(subject("acme.example"), Subject::Other(_)));
    }
}
