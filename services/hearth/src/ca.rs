//! The own certificate authority: certificates by which the processes of one Hearth trust each other.

use crate::cli::CaCommand;
use crate::roles::Role;
use anyhow::{Context, Result, bail};
use hearth_auth::secret_file;
use hearth_clients::{Identity, IdentityPaths, ROLE_URI};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::DnsName;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The authority's name. It is the same for all: a certificate's issuer is known by its key, and the name is all that
/// signing needs to know of the authority's certificate.
const NAME: &str = "Hearth internal CA";

/// Clocks may differ: certificates hold from a little before now.
const SKEW: Duration = Duration::from_secs(3600);

/// Does what the command line asks for.
///
/// # Errors
/// What can't be read or written, and what to do.
pub fn run(command: CaCommand) -> Result<()> {
    match command {
        CaCommand::Init { dir, days } => init(&dir, days),
        CaCommand::Issue {
            dir,
            name,
            roles,
            dns,
            ip,
            days,
            out,
        } => issue(&dir, &name, &roles, &dns, &ip, days, &out),
    }
}

fn authority(days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    hold(&mut params, days);
    params
}

fn hold(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + Duration::from_secs(u64::from(days) * 24 * 3600)).into();
}

fn init(dir: &Path, days: u32) -> Result<()> {
    let (certificate, key_file) = (dir.join("ca.crt"), dir.join("ca.key"));
    if certificate.exists() || key_file.exists() {
        bail!(
            "there is an authority in {} already; take another folder to make a new one",
            dir.display()
        );
    }
    let key = KeyPair::generate()?;
    let made = authority(days).self_signed(&key)?;
    secret_file::create(&key_file, &key.serialize_pem())?;
    write(&certificate, &made.pem())?;
    println!(
        "{} and {} are made",
        certificate.display(),
        key_file.display()
    );
    Ok(())
}

fn issue(
    dir: &Path,
    name: &str,
    roles: &[Role],
    dns: &[String],
    ip: &[IpAddr],
    days: u32,
    out: &Path,
) -> Result<()> {
    let ca_key = secret_file::read(&dir.join("ca.key"))?;
    let Some(ca_key) = ca_key else {
        bail!(
            "there is no authority in {}; make one with `hearth ca init`",
            dir.display()
        );
    };
    let ca_key = KeyPair::from_pem(&ca_key).context("ca.key is no private key")?;
    let ca = std::fs::read_to_string(dir.join("ca.crt"))
        .with_context(|| format!("can't read ca.crt in {}", dir.display()))?;
    let issuer = Issuer::new(authority(days), ca_key);

    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    for name in std::iter::once(name).chain(dns.iter().map(String::as_str)) {
        let told = || format!("{name:?} is no DNS name");
        DnsName::try_from(name).with_context(told)?;
        let name = name.try_into().with_context(told)?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    for role in roles {
        let uri = format!("{ROLE_URI}{}", role.name());
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
    }
    let addresses = ip.iter().map(|address| SanType::IpAddress(*address));
    params.subject_alt_names.extend(addresses);
    if dns.is_empty() && ip.is_empty() {
        // For processes of one machine, which reach each other by addresses that are always their own.
        let local = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        params
            .subject_alt_names
            .extend(local.map(SanType::IpAddress));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    hold(&mut params, days);
    let key = KeyPair::generate()?;
    let made = params.signed_by(&key, &issuer)?;

    let paths = IdentityPaths {
        ca: out.join("ca.crt"),
        cert: out.join("tls.crt"),
        key: out.join("tls.key"),
    };
    secret_file::replace(&paths.key, &key.serialize_pem())?;
    write(&paths.cert, &made.pem())?;
    write(&paths.ca, &ca)?;
    // What a process would refuse is better known now.
    Identity::load(paths.clone())
        .with_context(|| format!("{} has no authority that hearth made", dir.display()))?;
    println!(
        "internal.tls.ca = {:?}\ninternal.tls.cert = {:?}\ninternal.tls.key = {:?}",
        paths.ca.display().to_string(),
        paths.cert.display().to_string(),
        paths.key.display().to_string()
    );
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_authority_issues_what_processes_accept() {
        let dir = tempfile::tempdir().unwrap();
        let (ca, out) = (dir.path().join("ca"), dir.path().join("out"));
        assert!(
            issue(&ca, "w", &[Role::Workflow], &[], &[], 1, &out).is_err(),
            "there is none yet"
        );
        init(&ca, 1).unwrap();
        assert!(init(&ca, 1).is_err(), "it is not replaced");
        let local = ["127.0.0.1".parse().unwrap()];
        let roles = [Role::Workflow, Role::DeviceState];
        let dns = ["workflow".into()];
        issue(&ca, "workflow-1", &roles, &dns, &local, 1, &out).unwrap();
        issue(&ca, "workflow-1", &roles, &[], &[], 1, &out).unwrap();
        let paths = IdentityPaths {
            ca: out.join("ca.crt"),
            cert: out.join("tls.crt"),
            key: out.join("tls.key"),
        };
        let named = Identity::load(paths).unwrap().roles();
        assert_eq!(named.to_string(), "the roles workflow, device-state");
        for secret in [ca.join("ca.key"), out.join("tls.key")] {
            let mode = std::fs::metadata(&secret).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", secret.display());
        }
        // Another authority's key doesn't fit.
        let other = dir.path().join("other");
        init(&other, 1).unwrap();
        std::fs::copy(other.join("ca.key"), ca.join("ca.key")).unwrap();
        let error = issue(&ca, "x", &[], &[], &[], 1, &out).unwrap_err();
        assert!(format!("{error:#}").contains("authority"), "{error:#}");
        assert!(issue(&other, "not a name", &[], &[], &[], 1, &out).is_err());
    }
}
