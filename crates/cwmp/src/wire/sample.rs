//! Strategies for each kind of field, so that every message can be made up for property tests.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use proptest::collection::vec;
use proptest::prelude::*;

use super::Item;
use crate::fault::FaultCode;
use crate::rpc::DuOperation;
use crate::time::CwmpTime;
use crate::value::{ParameterValue, Secret, XsdType};

/// What can be made up.
pub(crate) trait Sample: Sized + Debug {
    fn strategy() -> BoxedStrategy<Self>;
}

/// Texts with everything that needs escaping, of at most `max` characters.
pub(crate) fn text(max: usize) -> BoxedStrategy<String> {
    let character = prop_oneof![
        4 => prop::char::range(' ', '~'),
        2 => prop::sample::select(vec!['&', '<', '>', '"', '\'', '\r', '\n', '\t', ']', ';', '#']),
        1 => any::<char>().prop_map(|c| if crate::decode::is_xml(c) { c } else { 'x' }),
    ];
    vec(character, 0..=max.min(40))
        .prop_map(String::from_iter)
        .boxed()
}

pub(crate) fn token(max: usize) -> BoxedStrategy<String> {
    text(max)
        .prop_map(|text| text.trim_matches([' ', '\t', '\r', '\n']).to_owned())
        .boxed()
}

pub(crate) fn oui() -> BoxedStrategy<String> {
    "[0-9A-F]{6}".boxed()
}

pub(crate) fn object(_: usize) -> BoxedStrategy<String> {
    "[A-Za-z0-9_.\\[\\]-]{0,40}\\.".boxed()
}

pub(crate) fn secret(max: usize) -> BoxedStrategy<Secret> {
    text(max).prop_map(Secret).boxed()
}

pub(crate) fn opt_text(max: usize) -> BoxedStrategy<Option<String>> {
    prop::option::of(text(max)).boxed()
}

pub(crate) fn opt_secret(max: usize) -> BoxedStrategy<Option<Secret>> {
    prop::option::of(secret(max)).boxed()
}

pub(crate) fn uuid() -> BoxedStrategy<String> {
    "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}".boxed()
}

pub(crate) fn opt_uuid() -> BoxedStrategy<Option<String>> {
    prop::option::of(uuid()).boxed()
}

pub(crate) fn number<T>(range: RangeInclusive<T>) -> BoxedStrategy<T>
where
    RangeInclusive<T>: Strategy<Value = T> + 'static,
    T: Debug,
{
    range.boxed()
}

pub(crate) fn fault_code(range: RangeInclusive<u32>) -> BoxedStrategy<FaultCode> {
    range.prop_map(FaultCode).boxed()
}

pub(crate) fn boolean() -> BoxedStrategy<bool> {
    any::<bool>().boxed()
}

pub(crate) fn time() -> BoxedStrategy<CwmpTime> {
    let moment = (0_i64..4_000_000_000).prop_map(|seconds| {
        CwmpTime::at(jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    });
    prop_oneof![moment, Just(CwmpTime::default())].boxed()
}

pub(crate) fn opt_time() -> BoxedStrategy<Option<CwmpTime>> {
    prop::option::of(time()).boxed()
}

pub(crate) fn one<T: Sample>() -> BoxedStrategy<T> {
    T::strategy()
}

pub(crate) fn array<T: Item + Sample + 'static>(
    count: RangeInclusive<usize>,
) -> BoxedStrategy<Vec<T>> {
    vec(T::strategy(), *count.start()..=(*count.end()).min(4)).boxed()
}

pub(crate) fn strings(least: usize, max: usize) -> BoxedStrategy<Vec<String>> {
    vec(token(max), least..=4).boxed()
}

pub(crate) fn base64s() -> BoxedStrategy<Vec<String>> {
    vec("([A-Za-z0-9+/]{4}){0,8}", 1..=3).boxed()
}

pub(crate) fn repeat<T: Sample + 'static>(least: usize) -> BoxedStrategy<Vec<T>> {
    vec(T::strategy(), least..=3).boxed()
}

pub(crate) fn operations() -> BoxedStrategy<Vec<DuOperation>> {
    let operation = prop_oneof![
        one().prop_map(DuOperation::Install),
        one().prop_map(DuOperation::Update),
        one().prop_map(DuOperation::Uninstall),
    ];
    vec(operation, 1..=3).boxed()
}

impl Sample for ParameterValue {
    fn strategy() -> BoxedStrategy<Self> {
        let xsd_type = prop::sample::select(XsdType::ALL.to_vec());
        (token(256), text(60), xsd_type)
            .prop_map(|(name, value, xsd_type)| {
                // Only in strings do blanks around a value count.
                let value = match xsd_type {
                    XsdType::String | XsdType::Other => value,
                    _ => value.trim().to_owned(),
                };
                Self {
                    name,
                    value,
                    xsd_type,
                }
            })
            .boxed()
    }
}

impl Sample for crate::Fault {
    fn strategy() -> BoxedStrategy<Self> {
        let source = any::<bool>().prop_map(|client| {
            if client {
                crate::FaultSource::Client
            } else {
                crate::FaultSource::Server
            }
        });
        (source, fault_code(8000..=9899), opt_text(80), repeat(0))
            .prop_map(|(source, code, string, parameters)| Self {
                source,
                code,
                string,
                parameters,
            })
            .boxed()
    }
}
