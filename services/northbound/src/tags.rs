//! Tags of devices: their shape, and what an UpdateDevice request changes about them.

use crate::error::invalid;
use hearth_proto::northbound::v1 as nb;
use std::collections::BTreeSet;
use tonic::Status;

/// The most tags that a device has.
const MAX_TAGS: usize = 64;

/// What is to be done with the tags.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TagChange {
    /// These and no others.
    Replace(BTreeSet<String>),
    /// Some more, some less.
    Edit {
        add: Vec<String>,
        remove: Vec<String>,
    },
}

impl TagChange {
    /// What the request asks for.
    pub(crate) fn of(request: &nb::UpdateDeviceRequest) -> Result<Self, Status> {
        let tags = request
            .device
            .as_ref()
            .map_or(&[][..], |device| &device.tags);
        let paths = request
            .update_mask
            .as_ref()
            .map_or(&[][..], |mask| &mask.paths);
        if let Some(other) = paths
            .iter()
            .find(|path| !matches!(path.as_str(), "tags" | "*"))
        {
            return Err(invalid(
                "update_mask",
                format!("{other:?} can't be changed; only `tags` can: use update_mask \"tags\""),
            ));
        }
        let edits = !request.add_tags.is_empty() || !request.remove_tags.is_empty();
        if edits && (!paths.is_empty() || !tags.is_empty()) {
            return Err(invalid(
                "add_tags",
                "give either add_tags and remove_tags, or device.tags with update_mask \"tags\"",
            ));
        }
        if edits {
            check("add_tags", &request.add_tags)?;
            check("remove_tags", &request.remove_tags)?;
            if let Some(tag) = request
                .add_tags
                .iter()
                .find(|tag| request.remove_tags.contains(tag))
            {
                return Err(invalid(
                    "remove_tags",
                    format!("{tag:?} is in add_tags too; leave it out of one of them"),
                ));
            }
            return Ok(Self::Edit {
                add: request.add_tags.clone(),
                remove: request.remove_tags.clone(),
            });
        }
        if paths.is_empty() && tags.is_empty() {
            return Err(invalid(
                "update_mask",
                "nothing to change: give add_tags, remove_tags, or update_mask \"tags\" with device.tags",
            ));
        }
        check("device.tags", tags)?;
        Ok(Self::Replace(tags.iter().cloned().collect()))
    }

    /// What to add to and remove from the present tags.
    pub(crate) fn against(self, present: &[String]) -> (Vec<String>, Vec<String>) {
        match self {
            Self::Edit { add, remove } => (add, remove),
            Self::Replace(wanted) => {
                let gone = present.iter().filter(|tag| !wanted.contains(*tag));
                let remove = gone.cloned().collect();
                let add = wanted.into_iter().filter(|tag| !present.contains(tag));
                (add.collect(), remove)
            }
        }
    }
}

fn check(field: &str, tags: &[String]) -> Result<(), Status> {
    if tags.len() > MAX_TAGS {
        return Err(invalid(
            field,
            format!("expected at most {MAX_TAGS} tags, got {}", tags.len()),
        ));
    }
    for (index, tag) in tags.iter().enumerate() {
        let good = (1..=64).contains(&tag.len())
            && tag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'));
        if !good {
            return Err(invalid(
                &format!("{field}[{index}]"),
                "expected 1 to 64 of letters, digits, '.', '_', ':', '-'",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pbjson_types::FieldMask;

    fn request(
        tags: &[&str],
        mask: Option<&str>,
        add: &[&str],
        remove: &[&str],
    ) -> nb::UpdateDeviceRequest {
        let owned = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>();
        nb::UpdateDeviceRequest {
            device: Some(nb::Device {
                tags: owned(tags),
                ..Default::default()
            }),
            update_mask: mask.map(|path| FieldMask {
                paths: vec![path.to_owned()],
            }),
            add_tags: owned(add),
            remove_tags: owned(remove),
        }
    }

    #[test]
    fn a_mask_replaces_and_lists_edit() {
        let change = TagChange::of(&request(&["a", "b"], Some("tags"), &[], &[])).unwrap();
        let present = ["b".to_owned(), "c".to_owned()];
        assert_eq!(
            change.against(&present),
            (vec!["a".into()], vec!["c".into()])
        );
        let none = TagChange::of(&request(&[], Some("tags"), &[], &[])).unwrap();
        assert_eq!(none.against(&present), (vec![], present.to_vec()));
        let edit = TagChange::of(&request(&[], None, &["x"], &["c"])).unwrap();
        assert_eq!(edit.against(&present), (vec!["x".into()], vec!["c".into()]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            request(&[], None, &[], &[]),
            request(&["a"], Some("manufacturer"), &[], &[]),
            request(&["a"], Some("tags"), &["b"], &[]),
            request(&["a b"], Some("tags"), &[], &[]),
            request(&[], None, &["x"], &["x"]),
            request(&[], None, &[""], &[]),
        ] {
            assert!(TagChange::of(&bad).is_err(), "{bad:?}");
        }
    }
}
