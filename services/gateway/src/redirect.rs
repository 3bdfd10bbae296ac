//! Devices of a tenant, or of all, are sent to another ACS URL (TR-069 3.4.1).
//!
//! What begins a session is redirected, before anything of it is looked at: not even credentials,
//! which may be known only there. Sessions that go on end here.

use std::collections::HashSet;

use hearth_telemetry::IntCounter;
use hearth_types::TenantId;
use http::request::Parts;
use http::{HeaderValue, StatusCode, Uri, header};

use crate::config::GatewayConfig;
use crate::http::Reply;
use crate::tls::front::RedirectRule;

/// Where devices are sent.
#[derive(Debug)]
struct Target {
    rule: RedirectRule,
    uri: Uri,
    location: HeaderValue,
    status: StatusCode,
}

/// All rules.
pub(crate) struct Redirects {
    targets: Vec<Target>,
    counter: IntCounter,
}

/// An answer that sends a device elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    pub status: StatusCode,
    pub location: HeaderValue,
}

impl Redirect {
    /// The answer; `unread`: the request's body was not read to its end.
    pub(crate) fn reply(self, unread: bool) -> Reply {
        let mut reply = Reply::default();
        *reply.status_mut() = self.status;
        reply.headers_mut().insert(header::LOCATION, self.location);
        if unread {
            crate::http::close(&mut reply);
        }
        reply
    }
}

impl Redirects {
    /// Takes rules that [`problems`] found nothing wrong with.
    pub(crate) fn new(rules: &[RedirectRule], counter: IntCounter) -> Self {
        let targets = rules.iter().filter_map(|rule| target(rule).ok()).collect();
        Self { targets, counter }
    }

    /// Where a tenant's devices are sent; `None`: nowhere, or to where this one is.
    pub(crate) fn find(&self, parts: &Parts, tenant: &TenantId) -> Option<Redirect> {
        let of = |wanted: Option<&TenantId>| {
            let mut targets = self.targets.iter();
            targets.find(|target| target.rule.tenant.as_ref() == wanted)
        };
        let target = of(Some(tenant)).or_else(|| of(None))?;
        let host = parts.headers.get(header::HOST);
        let here = host.is_some_and(|host| {
            let authority = target.uri.authority().map(http::uri::Authority::as_str);
            authority.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(host.as_bytes()))
                && target.uri.path() == parts.uri.path()
        });
        if here {
            return None;
        }
        self.counter.inc();
        Some(Redirect {
            status: target.status,
            location: target.location.clone(),
        })
    }
}

fn target(rule: &RedirectRule) -> Result<Target, &'static str> {
    let status = match rule.status {
        302 => StatusCode::FOUND,
        307 => StatusCode::TEMPORARY_REDIRECT,
        _ => return Err("expected the status 302 or 307"),
    };
    let uri: Uri = rule.url.parse().map_err(|_| "expected a URL")?;
    let good = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty())
        && !rule.url.contains('@');
    if !good {
        return Err("expected a URL of http or https without credentials");
    }
    let location = HeaderValue::from_str(&rule.url).map_err(|_| "expected a URL")?;
    Ok(Target {
        rule: rule.clone(),
        uri,
        location,
        status,
    })
}

/// What is wrong with the rules: bad URLs, two for one tenant, and circles by way of this server.
pub(crate) fn problems(config: &GatewayConfig) -> Vec<&'static str> {
    let mut problems = Vec::new();
    let mut targets = Vec::new();
    let mut tenants = HashSet::new();
    for rule in &config.redirects {
        if !tenants.insert(&rule.tenant) {
            problems.push("expected one rule for a tenant");
        }
        match target(rule) {
            Ok(target) => targets.push(target),
            Err(problem) => problems.push(problem),
        }
    }
    for first in &targets {
        // Follow them as a device would, as long as they lead to this server.
        let mut at = first;
        let mut steps = 0;
        while let Some(next) = leads_to(config, at, &targets) {
            steps += 1;
            if steps > targets.len() {
                problems.push("expected URLs that don't lead in a circle");
                return problems;
            }
            at = next;
        }
    }
    problems
}

/// The rule that a device meets which follows another one, if that leads to this server.
fn leads_to<'a>(
    config: &GatewayConfig,
    target: &Target,
    targets: &'a [Target],
) -> Option<&'a Target> {
    let host = target.uri.host()?;
    let is = |name: &str| name.eq_ignore_ascii_case(host);
    let named = config.tls.server_names.iter().find(|of| is(&of.name));
    let mut certificates = config.tls.certificates.iter().flat_map(|of| &of.names);
    let ours = named.is_some() || is(&config.public_host) || certificates.any(|name| is(name));
    if !ours {
        return None;
    }
    let path = target.uri.path();
    let tenant = match (path.strip_suffix('/').unwrap_or(path), named) {
        ("" | "/acs", Some(of)) => of.tenant.clone(),
        ("" | "/acs", None) => TenantId::default(),
        (path, _) => path.strip_prefix("/t/")?.parse().ok()?,
    };
    let of = |wanted: Option<&TenantId>| {
        let mut targets = targets.iter();
        targets.find(|target| target.rule.tenant.as_ref() == wanted)
    };
    of(Some(&tenant)).or_else(|| of(None))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rule(tenant: Option<&str>, url: &str) -> RedirectRule {
        RedirectRule {
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            url: url.to_owned(),
            status: 302,
        }
    }

    fn config(redirects: Vec<RedirectRule>) -> GatewayConfig {
        GatewayConfig {
            redirects,
            public_host: "acs.example".to_owned(),
            ..GatewayConfig::default()
        }
    }

    #[test]
    fn circles_are_found_and_moves_are_not() {
        let good = [
            vec![rule(Some("a"), "https://new.example/t/a")],
            vec![rule(None, "http://new.example:7547/acs")],
            vec![rule(Some("a"), "http://acs.example/t/b")],
            vec![
                rule(Some("a"), "http://acs.example/t/b"),
                rule(Some("b"), "http://acs.example/t/c"),
            ],
        ];
        for rules in good {
            assert!(problems(&config(rules.clone())).is_empty(), "{rules:?}");
        }
        let bad = [
            vec![rule(Some("a"), "http://ACS.example/t/a/")],
            vec![rule(None, "http://acs.example/t/b")],
            vec![rule(Some("default"), "http://acs.example/")],
            vec![
                rule(Some("a"), "http://acs.example/t/b"),
                rule(Some("b"), "http://acs.example/t/a"),
            ],
            vec![rule(Some("a"), "/t/b")],
            vec![rule(Some("a"), "ftp://new.example/")],
            vec![rule(Some("a"), "http://user:secret@new.example/")],
            vec![
                rule(Some("a"), "http://new.example/"),
                rule(Some("a"), "http://other.example/"),
            ],
            vec![RedirectRule {
                status: 301,
                ..rule(Some("a"), "http://new.example/")
            }],
        ];
        for rules in bad {
            assert!(!problems(&config(rules.clone())).is_empty(), "{rules:?}");
        }
    }
}
