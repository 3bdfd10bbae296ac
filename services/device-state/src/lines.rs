//! Lines by the addresses that they have: what a DHCP or RADIUS server tells of them (option 82).
//!
//! `line/{prefix}` is a line; `line-length/{4|6}/{length}` says that there are prefixes of this
//! length, so that an address is looked up by those alone.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hearth_clients::{Error, Result};
use hearth_proto::convert::micros;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::Line;
use hearth_store::{Document, DocumentKind};
use hearth_types::{DeviceId, TenantId};
use ipnet::IpNet;
use prost::Message;

use crate::core::Core;
use crate::memory::{About, Memory, REMEMBERED};
use crate::policy::check_name;
use crate::{page, prefix};
use hearth_runtime::Expiring;

const KIND: DocumentKind = DocumentKind::Setting;
const LINES: &str = "line/";
const LENGTHS: &str = "line-length/";
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;
/// Lengths and addresses in memory, and for how long an address: another process may set a line.
const CACHED: usize = 100_000;
const CACHE_TIME: Duration = Duration::from_secs(3);

/// What was looked up.
pub struct LineCache {
    lengths: Memory<TenantId, Arc<Vec<(bool, u8)>>>,
    found: Expiring<(TenantId, IpAddr), Option<Line>>,
}

impl LineCache {
    pub fn new() -> Self {
        Self {
            lengths: Memory::new(CACHED, REMEMBERED),
            found: Expiring::new(CACHED, CACHE_TIME),
        }
    }
}

fn key(prefix: &IpNet) -> String {
    format!("{LINES}{prefix}")
}

const fn family(v6: bool) -> char {
    if v6 { '6' } else { '4' }
}

fn read_prefix(field: &str, text: &str) -> Result<IpNet> {
    prefix::parse(text).map_err(|why| Error::invalid(field, why))
}

fn decode(document: &Document) -> Result<Line> {
    Line::decode(document.payload.as_slice())
        .map_err(|_| Error::internal("a stored line can't be read"))
}

impl Core {
    pub async fn set_line(&self, request: ds::SetLineRequest) -> Result<ds::SetLineResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let mut line = request
            .line
            .ok_or_else(|| Error::invalid("line", "must be set"))?;
        let prefix = read_prefix("line.prefix", &line.prefix)?;
        for (field, text) in [
            ("line.circuit_id", &line.circuit_id),
            ("line.remote_id", &line.remote_id),
        ] {
            check_name(field, text).map_err(|error| Error::invalid(field, error.message))?;
        }
        if !line.device.is_empty() {
            let device: DeviceId =
                line.device
                    .parse()
                    .map_err(|error: hearth_types::Invalid| {
                        Error::invalid("line.device", error.reason)
                    })?;
            line.device = device.into();
        }
        let now = self.now();
        if line.expire_time.is_some() && micros(line.expire_time.as_ref()) <= now.as_micros() {
            return Err(Error::invalid("line.expire_time", "is past"));
        }
        line.prefix = prefix.to_string();
        let v6 = matches!(prefix, IpNet::V6(_));
        let length = Document {
            key: format!("{LENGTHS}{}/{}", family(v6), prefix.prefix_len()),
            time: now,
            payload: Vec::new(),
        };
        let known = self.lengths(&tenant).await?;
        if !known.contains(&(v6, prefix.prefix_len())) {
            // First, so that no line is there that isn't looked for.
            let _changing = self.changing(&[About::tenant(&tenant)]).await?;
            self.store.put_document(KIND, &tenant, length).await?;
        }
        let document = Document {
            key: key(&prefix),
            time: now,
            payload: line.encode_to_vec(),
        };
        self.store.put_document(KIND, &tenant, document).await?;
        self.lines.found.forget(&(tenant, prefix.addr()));
        Ok(ds::SetLineResponse { line: Some(line) })
    }

    pub async fn delete_line(
        &self,
        request: ds::DeleteLineRequest,
    ) -> Result<ds::DeleteLineResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let prefix = read_prefix("prefix", &request.prefix)?;
        let key = key(&prefix);
        let existed = self.store.delete_document(KIND, &tenant, &key).await?;
        self.lines.found.forget(&(tenant, prefix.addr()));
        Ok(ds::DeleteLineResponse { existed })
    }

    pub async fn list_lines(&self, request: ds::ListLinesRequest) -> Result<ds::ListLinesResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let query = page::query(("lines", tenant.as_str()));
        let size = page::size(request.page_size, DEFAULT_PAGE, MAX_PAGE);
        let after = page::read(&request.page_token, query)?.map(|token| token.after);
        let found = self
            .store
            .documents(KIND, &tenant, LINES, after.as_deref(), size + 1);
        let mut found = found.await?;
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if more => page::after(query, &last.key),
            _ => String::new(),
        };
        let mut lines = Vec::with_capacity(found.len());
        for document in &found {
            let line = decode(document)?;
            if self.is_alive(&line) {
                lines.push(line);
            }
        }
        Ok(ds::ListLinesResponse {
            lines,
            next_page_token,
        })
    }

    fn is_alive(&self, line: &Line) -> bool {
        let ends = micros(line.expire_time.as_ref());
        ends == 0 || ends > self.now().as_micros()
    }

    /// Lengths of prefixes, the longest first; true: IPv6.
    async fn lengths(&self, tenant: &TenantId) -> Result<Arc<Vec<(bool, u8)>>> {
        let glance = self.glance(About::tenant(tenant));
        if let Some(known) = self.lines.lengths.get(tenant, glance) {
            return Ok(known);
        }
        // At most 32 and 128.
        let found = self.store.documents(KIND, tenant, LENGTHS, None, 200);
        let read = |document: Document| {
            let (family, length) = document.key.strip_prefix(LENGTHS)?.split_once('/')?;
            Some((family == "6", length.parse().ok()?))
        };
        let mut lengths: Vec<(bool, u8)> = found.await?.into_iter().filter_map(read).collect();
        lengths.sort_unstable_by_key(|(_, length)| std::cmp::Reverse(*length));
        let lengths = Arc::new(lengths);
        let known = Arc::clone(&lengths);
        self.lines.lengths.keep(tenant.clone(), glance, known);
        Ok(lengths)
    }

    pub async fn find_line(&self, request: ds::FindLineRequest) -> Result<ds::FindLineResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let address: IpAddr = request
            .address
            .parse()
            .map_err(|_| Error::invalid("address", "expected an IP address"))?;
        let address = address.to_canonical();
        let place = (tenant, address);
        let known = match self.lines.found.get(&place) {
            Some(known) => known,
            None => {
                let found = self.look_up(&place.0, address).await?;
                self.lines.found.insert(place, found.clone());
                found
            }
        };
        let line = known.filter(|line| self.is_alive(line));
        Ok(ds::FindLineResponse { line })
    }

    async fn look_up(&self, tenant: &TenantId, address: IpAddr) -> Result<Option<Line>> {
        let lengths = self.lengths(tenant).await?;
        for (_, length) in lengths.iter().filter(|(v6, _)| *v6 == address.is_ipv6()) {
            let Ok(net) = IpNet::new(address, *length) else {
                continue;
            };
            let key = key(&net.trunc());
            let document = self.store.document(KIND, tenant, &key);
            if let Some(document) = document.await? {
                let line = decode(&document)?;
                if self.is_alive(&line) {
                    return Ok(Some(line));
                }
            }
        }
        Ok(None)
    }
}
