//! The suite that every backend runs: one case for each promise of the contract.
//!
//! A case gets a fresh [`Harness`] and panics when the backend breaks the contract. Waits are
//! short real times, with generous limits for slow machines.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod consuming;
mod failing;
mod publishing;

pub use consuming::*;
pub use failing::*;
pub use publishing::*;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hearth_types::{DeviceId, DeviceKey, TenantId, Timestamp};

use crate::{Bus, Consumer, ConsumerSpec, Delivery, Publish, Stream};

/// Makes a test of each case: `conformance_cases!(harness)`, where `harness` is an expression of the
/// type `Option<impl Harness>`; without one a test passes.
#[macro_export]
macro_rules! conformance_cases {
    ($harness:expr) => {
        $crate::conformance_cases! { @each $harness,
            published_messages_survive_a_crash
            messages_keep_their_order
            concurrent_publishers_each_keep_their_order
            duplicates_are_one_message
            ids_are_by_stream
            duplicates_are_known_after_a_crash
            large_payloads_arrive_whole
            payloads_over_the_limit_are_refused
            a_closed_bus_says_so
            consumers_each_see_everything
            a_consumer_sees_its_streams_only
            kinds_keep_their_order
            parts_share_the_devices
            a_fetch_that_is_dropped_loses_nothing
            one_slow_message_holds_up_no_other
            a_new_consumer_begins_with_what_is_kept
            handles_of_one_name_share_the_work
            a_slow_consumer_gets_everything
            in_flight_is_bounded
            large_messages_are_fetched_in_parts
            fetch_waits_for_the_first
            acknowledged_messages_stay_so_after_closing
            bad_specifications_are_refused
            a_deleted_consumer_is_forgotten
            tails_see_what_comes
            unacknowledged_messages_come_again
            unacknowledged_messages_come_again_after_a_crash
            unacknowledged_messages_come_again_after_closing
            late_acknowledgements_do_no_harm
            deliveries_count_over_crashes
            nak_delays
            poison_dies_and_can_be_replayed
            terminated_messages_die_with_a_reason
            dead_letters_page_and_survive
            stats_tell_the_lag
        }
    };
    (@each $harness:expr, $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(harness) = $harness {
                    $crate::conformance::$case(&harness).await;
                }
            }
        )*
    };
}

/// How long a case waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a case waits to believe that nothing comes.
pub const QUIET: Duration = Duration::from_millis(150);

/// A backend under test, with storage of its own.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens the bus: empty the first time, later with what the buses before left. Called again
    /// only after the bus before was closed or crashed.
    async fn open(&self) -> Arc<dyn Bus>;

    /// The longest payload that the bus is set up to carry, in bytes.
    fn max_payload(&self) -> usize {
        3_000_000
    }

    /// Ends a bus as the death of its process would.
    async fn crash(&self, bus: Arc<dyn Bus>);
}

/// Runs every case, each on a new harness.
pub async fn run_all<H: Harness>(make: impl Fn() -> H) {
    published_messages_survive_a_crash(&make()).await;
    messages_keep_their_order(&make()).await;
    concurrent_publishers_each_keep_their_order(&make()).await;
    duplicates_are_one_message(&make()).await;
    ids_are_by_stream(&make()).await;
    duplicates_are_known_after_a_crash(&make()).await;
    large_payloads_arrive_whole(&make()).await;
    payloads_over_the_limit_are_refused(&make()).await;
    a_closed_bus_says_so(&make()).await;
    consumers_each_see_everything(&make()).await;
    a_consumer_sees_its_streams_only(&make()).await;
    kinds_keep_their_order(&make()).await;
    parts_share_the_devices(&make()).await;
    a_fetch_that_is_dropped_loses_nothing(&make()).await;
    one_slow_message_holds_up_no_other(&make()).await;
    a_new_consumer_begins_with_what_is_kept(&make()).await;
    handles_of_one_name_share_the_work(&make()).await;
    a_slow_consumer_gets_everything(&make()).await;
    in_flight_is_bounded(&make()).await;
    large_messages_are_fetched_in_parts(&make()).await;
    fetch_waits_for_the_first(&make()).await;
    acknowledged_messages_stay_so_after_closing(&make()).await;
    bad_specifications_are_refused(&make()).await;
    a_deleted_consumer_is_forgotten(&make()).await;
    tails_see_what_comes(&make()).await;
    unacknowledged_messages_come_again(&make()).await;
    unacknowledged_messages_come_again_after_a_crash(&make()).await;
    unacknowledged_messages_come_again_after_closing(&make()).await;
    late_acknowledgements_do_no_harm(&make()).await;
    deliveries_count_over_crashes(&make()).await;
    nak_delays(&make()).await;
    poison_dies_and_can_be_replayed(&make()).await;
    terminated_messages_die_with_a_reason(&make()).await;
    dead_letters_page_and_survive(&make()).await;
    stats_tell_the_lag(&make()).await;
}

/// A device by number.
pub fn device(n: u32) -> DeviceKey {
    let device = DeviceId::new("00AABB", "Test", &format!("S{n}")).unwrap();
    DeviceKey::new(TenantId::default(), device)
}

/// A message of device `n` with a text as payload.
pub fn message(stream: Stream, n: u32, text: &str) -> Publish {
    Publish {
        stream,
        device: device(n),
        message_id: None,
        time: Timestamp::from_micros(1_000_000 + i64::from(n)),
        payload: Bytes::copy_from_slice(text.as_bytes()),
    }
}

/// Publishes an Inform of device 1 and returns its number.
pub(crate) async fn publish(bus: &Arc<dyn Bus>, text: &str) -> u64 {
    let ack = bus.publish(message(Stream::Inform, 1, text)).await.unwrap();
    assert!(!ack.duplicate);
    ack.seq
}

/// A consumer of Informs whose deliveries don't time out during a case.
pub(crate) fn spec(name: &str) -> ConsumerSpec {
    ConsumerSpec::new(name, [Stream::Inform])
}

/// Fetches until there are `n` messages; panics when they don't come.
pub(crate) async fn fetch(consumer: &dyn Consumer, n: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    let started = std::time::Instant::now();
    while all.len() < n {
        assert!(
            started.elapsed() < PATIENCE,
            "{} of {n} messages came",
            all.len()
        );
        let more = consumer.fetch(n - all.len(), QUIET).await.unwrap();
        all.extend(more);
    }
    all
}

/// Panics when a message comes.
pub(crate) async fn nothing(consumer: &dyn Consumer) {
    let unexpected = consumer.fetch(10, QUIET).await.unwrap();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

/// The payloads as texts.
pub(crate) fn texts(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries
        .iter()
        .map(|d| std::str::from_utf8(&d.payload).unwrap())
        .collect()
}

/// The numbers.
pub(crate) fn seqs(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|d| d.seq).collect()
}
