//! Reads over several partitions as one, in order.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;

use super::client::each;
use crate::Result;

/// A partition that is read from.
struct Shard<T> {
    number: i8,
    waiting: VecDeque<T>,
    last: Option<T>,
    ended: bool,
}

/// The first `limit` items of all shards, in their order.
///
/// `fetch` reads a shard: at most so many items behind one, in their order; fewer mean its end.
/// Each shard is first asked for twice its share, and again only when that is used up.
pub(super) async fn merged<T, F, Fut>(shards: Range<i8>, limit: usize, fetch: F) -> Result<Vec<T>>
where
    T: Ord + Clone + Send,
    F: Fn(i8, Option<T>, usize) -> Fut + Sync,
    Fut: Future<Output = Result<Vec<T>>> + Send,
{
    if limit == 0 {
        return Ok(Vec::new());
    }
    let share = (limit * 2)
        .div_ceil(shards.len().max(1))
        .clamp(8, limit.max(8));
    let first = shards.clone().map(|number| fetch(number, None, share));
    let mut parts: Vec<Shard<T>> = each(first)
        .await?
        .into_iter()
        .zip(shards)
        .map(|(items, number)| Shard {
            number,
            ended: items.len() < share,
            waiting: items.into(),
            last: None,
        })
        .collect();
    let mut found = Vec::with_capacity(limit.min(1024));
    while found.len() < limit {
        for part in &mut parts {
            if part.waiting.is_empty() && !part.ended {
                let items = fetch(part.number, part.last.clone(), share).await?;
                part.ended = items.len() < share;
                part.waiting = items.into();
            }
        }
        let least = parts
            .iter_mut()
            .filter(|part| !part.waiting.is_empty())
            .min_by(|a, b| a.waiting.front().cmp(&b.waiting.front()));
        let Some(part) = least else {
            break;
        };
        if let Some(item) = part.waiting.pop_front() {
            part.last = Some(item.clone());
            found.push(item);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn merges_in_order_over_pages() {
        // All in one shard, or spread.
        for modulus in [1, 3, 16] {
            let read = |shard: i8, after: Option<u32>, size: usize| async move {
                let items = (0..500_u32)
                    .filter(|n| i64::from(n % modulus) == i64::from(shard))
                    .filter(|n| after.is_none_or(|after| *n > after));
                Ok(items.take(size).collect())
            };
            for limit in [0, 1, 7, 100, 499, 500, 600] {
                let found = merged(0..16, limit, read).await.unwrap();
                let most = u32::try_from(limit.min(500)).unwrap();
                assert_eq!(found, (0..most).collect::<Vec<_>>(), "{modulus} {limit}");
            }
        }
    }
}
