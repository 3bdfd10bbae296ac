//! Refusals, the last ones first.

use std::cmp::Reverse;

use hearth_clients::Result;
use hearth_proto::devicestate::v1 as ds;
use hearth_types::TenantId;

use crate::core::Core;
use crate::page;

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;

impl Core {
    pub async fn list_refusals(
        &self,
        request: ds::ListRefusalsRequest,
    ) -> Result<ds::ListRefusalsResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let (device, user, address) = (&request.device, &request.user, &request.address);
        let query = page::query(("refusals", tenant.as_str(), device, user, address));
        let size = page::size(request.page_size, DEFAULT_PAGE, MAX_PAGE);
        let token = page::read(&request.page_token, query)?;
        let fits = |asked: &String, has: &String| asked.is_empty() || asked == has;
        let mut all = self.all_refusals(&tenant).await?;
        all.retain(|one| {
            fits(device, &one.device) && fits(user, &one.user) && fits(address, &one.address)
        });
        all.sort_by_cached_key(order);
        if let Some(token) = token {
            let from = (Reverse(token.time), token.id);
            all.retain(|one| order(one) > from);
        }
        let more = all.len() > size;
        all.truncate(size);
        let next_page_token = match all.last().map(order) {
            Some((Reverse(time), id)) if more => page::before(query, time, id),
            _ => String::new(),
        };
        Ok(ds::ListRefusalsResponse {
            refusals: all,
            next_page_token,
        })
    }
}

/// The order: by the last time, then by whatever tells them apart.
fn order(one: &ds::Refusal) -> (Reverse<i64>, u64) {
    let who = (&one.device, &one.user, &one.certificate);
    let id = page::query((who, &one.reason, &one.address));
    (Reverse(one.last_time_us), id)
}
