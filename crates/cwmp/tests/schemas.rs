//! Every kind of envelope that is emitted is valid against the Broadband Forum's own schemas.
//!
//! The schemas are not part of this repository: `HEARTH_BBF_DIR` names a folder with
//! `cwmp-1-0.xsd` to `cwmp-1-4.xsd`, and xmllint does the work. Without them the test says so and
//! passes.
#![allow(clippy::unwrap_used)]

mod samples;

use std::path::{Path, PathBuf};
use std::process::Command;

use hearth_cwmp::{
    AcsRequest, AcsResponse, CpeRequest, CpeResponse, CwmpVersion, DecodeOptions, Envelope,
    Message, Namespace, decode, encode,
};

/// The namespace that the schema of this version defines.
fn namespace(version: u8) -> Namespace {
    Namespace::from_minor(version.min(2))
}

/// Lets xmllint find the schemas without the network: the Forum's where they are, SOAP's here.
fn write_catalog(dir: &Path, forum: &Path) -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas");
    let path = dir.join("catalog.xml");
    let catalog = format!(
        r#"<catalog xmlns="urn:oasis:names:tc:entity:xmlns:xml:catalog">
  <system systemId="http://schemas.xmlsoap.org/soap/envelope/" uri="file://{ours}/soap-envelope.xsd"/>
  <system systemId="http://schemas.xmlsoap.org/soap/encoding/" uri="file://{ours}/soap-encoding.xsd"/>
  <rewriteSystem systemIdStartString="http://www.broadband-forum.org/cwmp/" rewritePrefix="file://{forum}/"/>
</catalog>"#,
        ours = ours.display(),
        forum = forum.display(),
    );
    std::fs::write(&path, catalog).unwrap();
    path
}

fn write_schema(dir: &Path, version: u8) -> PathBuf {
    let path = dir.join(format!("envelope-{version}.xsd"));
    let schema = format!(
        r#"<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:import namespace="http://schemas.xmlsoap.org/soap/envelope/" schemaLocation="http://schemas.xmlsoap.org/soap/envelope/"/>
  <xs:import namespace="{}" schemaLocation="http://www.broadband-forum.org/cwmp/cwmp-1-{version}.xsd"/>
</xs:schema>"#,
        namespace(version),
    );
    std::fs::write(&path, schema).unwrap();
    path
}

/// The envelopes to validate against one version's schema, with the headers that version has.
fn envelopes(version: u8) -> Vec<Envelope> {
    samples::messages()
        .into_iter()
        .filter(|(since, ..)| *since <= version)
        .map(|(_, _, message)| {
            let mut envelope = Envelope {
                id: Some("a <b> & c".to_owned()),
                hold_requests: Some(true),
                namespace: namespace(version),
                ..Envelope::new(message)
            };
            if version >= 3 {
                envelope.session_timeout = Some(30);
            }
            if version >= 4 {
                envelope.supported_versions = CwmpVersion::SUPPORTED.to_vec();
                envelope.use_version = Some(CwmpVersion::new(1, 4));
            }
            envelope
        })
        .collect()
}

fn xmllint(catalog: &Path, schema: &Path, files: &[PathBuf]) -> Option<(bool, String)> {
    let output = Command::new("xmllint")
        .env("XML_CATALOG_FILES", catalog)
        .args(["--nonet", "--noout", "--schema"])
        .arg(schema)
        .args(files)
        .output()
        .ok()?;
    Some((
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

#[test]
fn every_envelope_is_valid_against_the_forums_schemas() {
    let forum = std::env::var_os("HEARTH_BBF_DIR").map(PathBuf::from);
    let Some(forum) = forum.and_then(|dir| dir.canonicalize().ok()) else {
        println!("SKIPPED: HEARTH_BBF_DIR names no folder with the Forum's cwmp-1-*.xsd");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let catalog = write_catalog(dir.path(), &forum);
    for version in 0..=4 {
        let schema = write_schema(dir.path(), version);
        let files: Vec<_> = envelopes(version)
            .iter()
            .enumerate()
            .map(|(index, envelope)| {
                let method = envelope.message.method();
                let path = dir.path().join(format!("{version}-{index}-{method}.xml"));
                std::fs::write(&path, encode(envelope).unwrap()).unwrap();
                path
            })
            .collect();
        let Some((valid, report)) = xmllint(&catalog, &schema, &files) else {
            println!("SKIPPED: there is no xmllint (package libxml2-utils)");
            return;
        };
        assert!(valid, "CWMP 1.{version}:\n{report}");

        // That the check bites: an element under a wrong name must not pass.
        let broken = dir.path().join("broken.xml");
        let text = String::from_utf8(encode(&envelopes(version)[0]).unwrap()).unwrap();
        std::fs::write(&broken, text.replace("RetryCount", "RetriesCount")).unwrap();
        let (valid, _) = xmllint(&catalog, &schema, &[broken]).unwrap();
        assert!(!valid, "CWMP 1.{version}: a wrong envelope passed");
    }
}

#[test]
fn there_is_a_sample_of_every_method() {
    let samples = samples::messages();
    let has = |wanted: &str, class: fn(&Message) -> bool| {
        samples
            .iter()
            .any(|(.., message)| class(message) && message.method() == wanted)
    };
    for (methods, class) in [
        (
            CpeRequest::METHODS,
            (|m| matches!(m, Message::CpeRequest(_))) as fn(&Message) -> bool,
        ),
        (CpeResponse::METHODS, |m| {
            matches!(m, Message::CpeResponse(_))
        }),
        (AcsRequest::METHODS, |m| matches!(m, Message::AcsRequest(_))),
        (AcsResponse::METHODS, |m| {
            matches!(m, Message::AcsResponse(_))
        }),
    ] {
        for method in methods {
            assert!(has(method, class), "{method}");
        }
    }
}

#[test]
fn samples_survive() {
    for (_, receiver, message) in samples::messages() {
        let envelope = Envelope::new(message);
        let bytes = encode(&envelope).unwrap();
        let decoded = decode(&bytes, &DecodeOptions::new(receiver)).unwrap();
        assert_eq!(decoded.envelope, envelope);
        assert!(decoded.repairs.is_clean(), "{:?}", decoded.repairs);
    }
}
