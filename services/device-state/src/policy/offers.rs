//! What the policy says of requests that devices make of their own: RequestDownload and Kicked.

use hearth_clients::Result;
use hearth_proto::types::v1::{DownloadOffer, EdgePolicy, Kicked, RequestDownload};
use hearth_types::{ResourceName, TenantId};

use super::wrong;

const MAX_OFFERS: usize = 100;
/// Limits of TR-069's data types (A.4.2.1, A.4.2.2), in characters.
const MAX_ARGUMENTS: usize = 16;
const MAX_FILE_TYPE: usize = 64;
const MAX_TARGET: usize = 256;
const MAX_URL: usize = 1024;

/// Fills in what isn't said.
pub(super) fn with_defaults(policy: &mut EdgePolicy) {
    if policy.request_download() == RequestDownload::Unspecified {
        policy.set_request_download(RequestDownload::Record);
    }
    if policy.kicked() == Kicked::Unspecified {
        policy.set_kicked(Kicked::Next);
    }
}

/// The rules; an error names the field.
pub(super) fn check(tenant: &TenantId, policy: &EdgePolicy) -> Result<()> {
    if RequestDownload::try_from(policy.request_download).is_err() {
        return wrong("request_download", "is no value that is known here");
    }
    if Kicked::try_from(policy.kicked).is_err() {
        return wrong("kicked", "is no value that is known here");
    }
    if policy.download_offers.len() > MAX_OFFERS {
        return wrong("download_offers", "expected at most 100");
    }
    for (place, offer) in policy.download_offers.iter().enumerate() {
        self::offer(tenant, &format!("download_offers[{place}]"), offer)?;
    }
    let url = policy.kicked_url.as_str();
    if policy.kicked() == Kicked::Url && url.is_empty() {
        return wrong("kicked_url", "expected the URL that users are sent to");
    }
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    let bad = |c: char| c.is_whitespace() || c.is_control();
    let fits = url.chars().count() <= MAX_URL && !url.contains(bad);
    let usable = is_web && fits;
    if !url.is_empty() && !usable {
        return wrong(
            "kicked_url",
            "expected an http or https URL of at most 1024 characters",
        );
    }
    Ok(())
}

fn offer(tenant: &TenantId, field: &str, offer: &DownloadOffer) -> Result<()> {
    let at_most = |name: &str, text: &str, max: usize| {
        if text.chars().count() <= max {
            return Ok(());
        }
        wrong(
            &format!("{field}.{name}"),
            &format!("expected at most {max} characters"),
        )
    };
    if offer.file_type.is_empty() {
        return wrong(
            &format!("{field}.file_type"),
            "expected a CWMP FileType, such as `1 Firmware Upgrade Image`",
        );
    }
    at_most("file_type", &offer.file_type, MAX_FILE_TYPE)?;
    at_most("product_class", &offer.product_class, 64)?;
    at_most("target_file_name", &offer.target_file_name, MAX_TARGET)?;
    if offer.arguments.len() > MAX_ARGUMENTS {
        return wrong(
            &format!("{field}.arguments"),
            "expected at most 16, as a request can't have more",
        );
    }
    match offer.file.parse::<ResourceName>() {
        Ok(ResourceName::File(of, _)) if of == *tenant => Ok(()),
        _ => wrong(
            &format!("{field}.file"),
            &format!("expected a file of the tenant: `tenants/{tenant}/files/{{file}}`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn policy(change: impl FnOnce(&mut EdgePolicy)) -> std::result::Result<(), String> {
        let mut policy = EdgePolicy {
            download_offers: vec![DownloadOffer {
                file_type: "1 Firmware Upgrade Image".to_owned(),
                file: "tenants/default/files/fw.bin".to_owned(),
                ..DownloadOffer::default()
            }],
            ..EdgePolicy::default()
        };
        change(&mut policy);
        check(&TenantId::default(), &policy).map_err(|error| error.field)
    }

    #[test]
    fn only_files_of_the_tenant_are_offered() {
        policy(|_| {}).unwrap();
        for file in [
            "",
            "fw.bin",
            "http://evil.example/fw.bin",
            "tenants/other/files/fw.bin",
            "tenants/default/devices/a-b-c",
        ] {
            let refused = policy(|p| p.download_offers[0].file = file.to_owned());
            assert_eq!(
                refused.unwrap_err(),
                "policy.download_offers[0].file",
                "{file}"
            );
        }
        let refused = policy(|p| p.download_offers[0].file_type.clear());
        assert_eq!(refused.unwrap_err(), "policy.download_offers[0].file_type");
    }

    #[test]
    fn users_are_sent_to_a_page_or_nowhere() {
        let refused = policy(|p| p.set_kicked(Kicked::Url));
        assert_eq!(refused.unwrap_err(), "policy.kicked_url");
        let with = |url: &str| {
            let url = url.to_owned();
            policy(|p| {
                p.set_kicked(Kicked::Url);
                p.kicked_url = url;
            })
        };
        with("https://portal.example/start").unwrap();
        for bad in ["javascript:alert(1)", "https://a b/", "portal.example"] {
            assert_eq!(with(bad).unwrap_err(), "policy.kicked_url", "{bad}");
        }
    }
}
