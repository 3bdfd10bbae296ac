//! Tasks by device or tenant, in pages.

use crate::{ledger::store_error, service::Inner};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hearth_clients::{Error, Result};
use hearth_proto::{
    types::v1::TaskState,
    workflow::v1::{ListTasksRequest, ListTasksResponse},
};
use hearth_store::TaskQuery;
use hearth_types::{DeviceKey, TaskId, TenantId};

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;
/// Rows that one call reads at most, so that a rare state doesn't make it endless: the page is
/// short then, and its token goes on.
const MAX_ROWS: usize = 20_000;

impl Inner {
    pub(crate) async fn list_tasks(&self, request: ListTasksRequest) -> Result<ListTasksResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let device = match request.device.as_str() {
            "" => None,
            device => Some(DeviceKey::parse(&request.tenant, device)?.device),
        };
        let states: Vec<TaskState> = request.states().collect();
        let size = match usize::try_from(request.page_size).unwrap_or(MAX_PAGE) {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        // Final and open states are both among those asked for, or only one kind is.
        let open_only = !states.is_empty() && states.iter().all(|state| !state.is_final());
        let mut before = read_token(&request.page_token)?;
        let mut tasks = Vec::new();
        let mut rows_read = 0;
        loop {
            let query = TaskQuery {
                tenant: tenant.clone(),
                device: device.clone(),
                open_only,
                before,
                limit: if states.is_empty() { size } else { MAX_PAGE },
            };
            let rows = self
                .ledger
                .store()
                .tasks(&query)
                .await
                .map_err(store_error)?;
            let end = rows.len() < query.limit;
            rows_read += rows.len();
            for row in rows {
                before = Some(row.id);
                let Some(work) = self.ledger.read(&row) else {
                    continue;
                };
                if states.is_empty() || states.contains(&work.state()) {
                    tasks.push(work.task);
                }
                if tasks.len() == size {
                    break;
                }
            }
            let full = tasks.len() == size;
            if full || end || rows_read >= MAX_ROWS {
                let more = full || !end;
                return Ok(ListTasksResponse {
                    tasks,
                    next_page_token: match before {
                        Some(before) if more => token(before),
                        _ => String::new(),
                    },
                });
            }
        }
    }
}

fn token(before: TaskId) -> String {
    URL_SAFE_NO_PAD.encode(before.to_bytes())
}

fn read_token(token: &str) -> Result<Option<TaskId>> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let bytes = bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    match bytes {
        Some(bytes) => Ok(Some(TaskId::from_bytes(bytes))),
        None => Err(Error::invalid(
            "page_token",
            "expected the next_page_token of an earlier answer, or nothing for the first page",
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens() {
        let id = TaskId::generate();
        assert_eq!(read_token(&token(id)).unwrap(), Some(id));
        assert_eq!(read_token("").unwrap(), None);
        assert_eq!(read_token("x").unwrap_err().field, "page_token");
    }
}
