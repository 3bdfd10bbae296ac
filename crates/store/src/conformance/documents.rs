//! Documents that several processes make at once.

use std::collections::HashSet;
use std::sync::Arc;

use hearth_types::Timestamp;
use tokio::task::JoinSet;

use super::tenant;
use crate::{Document, DocumentKind, Store};

fn document(key: &str, time: i64, payload: u8) -> Document {
    Document {
        key: key.to_owned(),
        time: Timestamp::from_micros(time),
        payload: vec![payload],
    }
}

pub async fn one_document_of_a_key(store: Arc<dyn Store>) {
    let (of, kind) = (tenant("a"), DocumentKind::File);
    let mut calls = JoinSet::new();
    for n in 1..=8 {
        let (store, of) = (store.clone(), of.clone());
        calls.spawn(async move {
            let mine = document("a", 1_000_000 + i64::from(n), n);
            let present = store.create_document(kind, &of, mine).await.unwrap();
            present.map_or((n, true), |other| (other.payload[0], false))
        });
    }
    let (mut entered, mut known) = (0, HashSet::new());
    while let Some(call) = calls.join_next().await {
        let (payload, is_own) = call.unwrap();
        entered += u32::from(is_own);
        known.insert(payload);
    }
    assert_eq!((entered, known.len()), (1, 1), "all learn of the same one");
    let found = store.document(kind, &of, "a").await.unwrap().unwrap();
    assert!(known.contains(&found.payload[0]));
    // Another kind, another tenant; and once it is deleted, again.
    let create = |kind, of: &str| {
        let (store, of) = (store.clone(), tenant(of));
        async move {
            let mine = document("a", 5, 9);
            store.create_document(kind, &of, mine).await.unwrap()
        }
    };
    assert_eq!(create(DocumentKind::Model, "a").await, None);
    assert_eq!(create(kind, "b").await, None);
    assert!(create(kind, "a").await.is_some());
    assert!(store.delete_document(kind, &of, "a").await.unwrap());
    assert_eq!(create(kind, "a").await, None);
    let found = store.document(kind, &of, "a").await.unwrap().unwrap();
    assert_eq!(found.payload, [9]);
}
