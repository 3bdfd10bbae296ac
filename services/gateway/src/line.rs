//! On which line a device is, and whether the tenant asks: the signed header of a proxy, a line that
//! was set for the address, a trusted network, in this order.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_auth::seal::policy_place;
use hearth_auth::{Sealer, SecretString, line_header};
use hearth_clients::DeviceState;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::{EdgePolicy, IdentityProof, Line as SetLine};
use hearth_types::TenantId;
use http::HeaderName;
use http::request::Parts;
use ipnet::IpNet;
use quick_cache::sync::Cache;

use crate::capture::Captures;
use crate::proof::Proof;
use crate::refusal::Refusal;

/// Policies in memory, and for how long one counts.
const POLICIES: usize = 10_000;
const FRESH: Duration = Duration::from_secs(3);
/// For so long the last one serves where a new one can't be had.
const STALE: Duration = Duration::from_secs(60);

/// The line that a device is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// What is shown of it.
    pub name: String,
    /// The only device that may come on it; empty for any.
    pub device: String,
}

/// What a tenant's policy says about lines, ready for use.
struct LinePolicy {
    /// What a device must prove.
    identity: IdentityProof,
    /// The longest prefix first.
    networks: Vec<(IpNet, String)>,
    header: Option<Header>,
    /// As it was told: what it says of other things than lines.
    whole: EdgePolicy,
}

struct Header {
    name: HeaderName,
    secret: SecretString,
    window: u32,
}

impl LinePolicy {
    /// Whether a line alone lets a device in.
    const fn line_alone(&self) -> bool {
        matches!(self.identity, IdentityProof::Line | IdentityProof::Either)
    }

    /// Whether credentials are of no use.
    const fn only_line(&self) -> bool {
        matches!(self.identity, IdentityProof::Line)
    }

    const fn asks(&self) -> bool {
        !matches!(
            self.identity,
            IdentityProof::Unspecified | IdentityProof::Credential
        )
    }
}

/// Finds lines.
pub(crate) struct Lines {
    device_state: Arc<dyn DeviceState>,
    sealer: Sealer,
    policies: Cache<TenantId, (Instant, Arc<LinePolicy>)>,
    captures: Arc<Captures>,
}

impl Lines {
    pub(crate) fn new(
        device_state: Arc<dyn DeviceState>,
        sealer: Sealer,
        captures: Arc<Captures>,
    ) -> Self {
        Self {
            device_state,
            sealer,
            policies: Cache::new(POLICIES),
            captures,
        }
    }

    /// A tenant's policy, at most some seconds old.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn policy(&self, tenant: &TenantId) -> Result<Arc<LinePolicy>, Refusal> {
        let kept = self.policies.get(tenant);
        if let Some((since, policy)) = &kept
            && since.elapsed() < FRESH
        {
            return Ok(Arc::clone(policy));
        }
        let request = ds::GetEdgePolicyRequest {
            tenant: tenant.to_string(),
        };
        match self.device_state.get_edge_policy(request).await {
            Ok(answer) => {
                self.captures.learn(tenant, &answer);
                let read = self.read(tenant, answer.policy.unwrap_or_default())?;
                let policy = Arc::new(read);
                let entry = (Instant::now(), Arc::clone(&policy));
                self.policies.insert(tenant.clone(), entry);
                Ok(policy)
            }
            Err(error) => match kept {
                Some((since, policy)) if since.elapsed() < STALE => Ok(policy),
                _ => Err(unavailable(&error)),
            },
        }
    }

    /// What the tenant has chosen beside lines, at most some seconds old.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub(crate) async fn chosen(&self, tenant: &TenantId) -> Result<EdgePolicy, Refusal> {
        Ok(self.policy(tenant).await?.whole.clone())
    }

    fn read(&self, tenant: &TenantId, policy: EdgePolicy) -> Result<LinePolicy, Refusal> {
        let network = |network: &hearth_proto::types::v1::TrustedNetwork| {
            let prefix = network.prefix.parse::<IpNet>().ok();
            let address = network.prefix.parse::<IpAddr>().ok().map(IpNet::from);
            Some((prefix.or(address)?, network.line.clone()))
        };
        let mut networks: Vec<_> = policy.trusted_networks.iter().filter_map(network).collect();
        networks.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        let header = policy
            .line_header
            .as_ref()
            .filter(|header| !header.name.is_empty());
        let header = match header {
            None => None,
            Some(header) => {
                let place = policy_place(tenant, "line_header");
                let secret = self.sealer.open(&place, &header.sealed_secret).ok();
                let secret = secret.and_then(|bytes| String::from_utf8(bytes).ok());
                let name = header.name.parse::<HeaderName>().ok();
                let (Some(secret), Some(name)) = (secret, name) else {
                    return Err(Refusal::Unavailable {
                        part: "policy",
                        why: "the secret of the line header can't be opened".to_owned(),
                    });
                };
                Some(Header {
                    name,
                    secret: SecretString::from(secret),
                    window: header.window_seconds,
                })
            }
        };
        Ok(LinePolicy {
            identity: policy.identity_proof(),
            networks,
            header,
            whole: policy,
        })
    }

    /// Adds the line to what a request proves, as the tenant's policy has it; `now` in µs.
    ///
    /// # Errors
    /// [`Refusal::Denied`] for a header that doesn't prove what it says, or where a line alone
    /// counts and none is known.
    pub(crate) async fn prove(
        &self,
        proof: &mut Proof,
        parts: &Parts,
        tenant: &TenantId,
        peer: Option<SocketAddr>,
        now: i64,
    ) -> Result<(), Refusal> {
        let policy = self.policy(tenant).await?;
        proof.line = self.find(&policy, parts, tenant, peer, now).await?;
        proof.line_alone = policy.line_alone();
        if policy.only_line() && proof.line.is_none() {
            // Asked for credentials, it would only come again.
            let why = "the tenant asks for a known line, and this is none".to_owned();
            return Err(Refusal::Denied("line", why));
        }
        Ok(())
    }

    /// The line of a request, if one is known; `now` in µs.
    ///
    /// # Errors
    /// [`Refusal::Denied`] for a header that doesn't prove what it says.
    async fn find(
        &self,
        policy: &LinePolicy,
        parts: &Parts,
        tenant: &TenantId,
        peer: Option<SocketAddr>,
        now: i64,
    ) -> Result<Option<Line>, Refusal> {
        if let Some(header) = &policy.header
            && let Some(value) = parts.headers.get(&header.name)
        {
            let denied = |why: &str| Refusal::Denied("line_header", why.to_owned());
            let value = value.to_str().map_err(|_| denied("it isn't ASCII"))?;
            let seconds = now.div_euclid(1_000_000);
            let line = line_header::verify(&header.secret, tenant, value, seconds, header.window)
                .map_err(|error| denied(&error.to_string()))?;
            return Ok(Some(Line {
                name: line.to_owned(),
                device: String::new(),
            }));
        }
        let Some(address) = peer.map(|peer| peer.ip().to_canonical()) else {
            return Ok(None);
        };
        if policy.asks() {
            let request = ds::FindLineRequest {
                tenant: tenant.to_string(),
                address: address.to_string(),
            };
            let found = self.device_state.find_line(request).await;
            if let Some(line) = found.map_err(|error| unavailable(&error))?.line {
                return Ok(Some(named(line)));
            }
        }
        let trusted = policy
            .networks
            .iter()
            .find(|(net, _)| net.contains(&address));
        Ok(trusted.map(|(_, name)| Line {
            name: match name.as_str() {
                "" => address.to_string(),
                name => name.to_owned(),
            },
            device: String::new(),
        }))
    }
}

fn named(line: SetLine) -> Line {
    let ids = [line.circuit_id.as_str(), line.remote_id.as_str()];
    let known: Vec<&str> = ids.into_iter().filter(|id| !id.is_empty()).collect();
    Line {
        name: match known.is_empty() {
            true => line.prefix.clone(),
            false => known.join(" / "),
        },
        device: line.device,
    }
}

fn unavailable(error: &hearth_clients::Error) -> Refusal {
    Refusal::Unavailable {
        part: "device_state",
        why: error.to_string(),
    }
}
