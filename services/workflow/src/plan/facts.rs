//! What is known of a device when a plan is made: by its quirk profile, which people wrote, and by
//! what was learned of its model. Where both say something, the profile is followed.

use hearth_proto::devicestate::v1::Model;
use hearth_proto::types::v1::{BooleanForm, ProfileChoice};

use super::gate::ALL_QUEUED;

/// What is known of the device when a plan is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Names in one GetParameterValues.
    pub(crate) gpv_batch: usize,
    /// The longest request that the device takes, in bytes; `None`: no limit of its own.
    pub(crate) longest_request: Option<usize>,
    /// An empty path is refused.
    pub(crate) refuses_empty_path: bool,
    /// `Device.` or `InternetGatewayDevice.`, empty when not known.
    pub(crate) root: String,
    /// GetAllQueuedTransfers is known not to work.
    pub(crate) no_queued_transfers: bool,
    /// What GetRPCMethods named, if it was asked.
    pub(crate) methods: Vec<String>,
    /// RPCs that are known not to work.
    pub(crate) unsupported: Vec<String>,
    /// How booleans are written, as it was learned.
    pub(crate) boolean_form: BooleanForm,
    /// A dateTime's fraction of a second is refused, as it was learned.
    pub(crate) whole_seconds: bool,
    /// The profile: `id@version`, empty where there is none.
    pub(crate) profile: String,
    /// RPCs that are there, by the profile.
    pub(crate) present: Vec<String>,
    /// RPCs that are not there, by the profile.
    pub(crate) missing: Vec<String>,
    /// The profile says how booleans are written.
    pub(crate) booleans_are_said: bool,
}

impl Facts {
    /// `gpv_batch`: names in one GetParameterValues where nothing else is known.
    pub(crate) fn new(gpv_batch: usize, model: &Model, profile: Option<&ProfileChoice>) -> Self {
        let mut facts = Self {
            gpv_batch,
            refuses_empty_path: model.refuses_empty_path,
            methods: model.rpcs.clone(),
            unsupported: model.unsupported_rpcs.clone(),
            boolean_form: model.boolean_form(),
            whole_seconds: model.no_fractional_seconds,
            ..Self::default()
        };
        let mut most = model.gpv_batch;
        if let Some(profile) = profile {
            facts.follow(profile, &mut most);
        }
        if most > 0 {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            facts.gpv_batch = gpv_batch.min(most);
        }
        let is_queued = |rpc: &String| rpc == ALL_QUEUED;
        // Some devices end the session without a word at an RPC that they don't know.
        facts.no_queued_transfers = facts.unsupported.iter().any(is_queued)
            || (!facts.methods.is_empty() && !facts.methods.iter().any(is_queued));
        facts
    }

    fn follow(&mut self, profile: &ProfileChoice, most_names: &mut u32) {
        let Some(quirks) = &profile.quirks else {
            return;
        };
        self.profile = format!("{}@{}", profile.id, profile.version);
        if quirks.max_names_per_read > 0 {
            *most_names = quirks.max_names_per_read;
        }
        self.refuses_empty_path = quirks.refuses_empty_path.unwrap_or(self.refuses_empty_path);
        self.longest_request = usize::try_from(quirks.max_request_bytes)
            .ok()
            .filter(|bytes| *bytes > 0);
        // Cut off by the gateway already: there is nothing to try.
        self.whole_seconds |= quirks.no_fractional_seconds;
        self.booleans_are_said = quirks.boolean_form() != BooleanForm::Unspecified;
        self.unsupported
            .retain(|rpc| !quirks.present_rpcs.contains(rpc));
        self.unsupported.extend_from_slice(&quirks.missing_rpcs);
        // An empty list says that nobody asked.
        if !self.methods.is_empty() {
            self.methods.extend_from_slice(&quirks.present_rpcs);
        }
        self.present.clone_from(&quirks.present_rpcs);
        self.missing.clone_from(&quirks.missing_rpcs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_proto::types::v1::Quirks;

    fn model() -> Model {
        Model {
            gpv_batch: 10,
            refuses_empty_path: true,
            unsupported_rpcs: vec!["Upload".into()],
            rpcs: vec!["Reboot".into()],
            ..Model::default()
        }
    }

    fn with(quirks: Quirks) -> Facts {
        let profile = ProfileChoice {
            id: "acme".into(),
            version: 3,
            quirks: Some(quirks),
            ..ProfileChoice::default()
        };
        Facts::new(128, &model(), Some(&profile))
    }

    #[test]
    fn a_profile_goes_before_what_was_learned() {
        let learned = Facts::new(128, &model(), None);
        assert_eq!((learned.gpv_batch, learned.refuses_empty_path), (10, true));
        assert!(learned.no_queued_transfers);
        let silent = with(Quirks::default());
        assert_eq!((silent.gpv_batch, silent.refuses_empty_path), (10, true));
        let said = with(Quirks {
            max_names_per_read: 50,
            refuses_empty_path: Some(false),
            present_rpcs: vec!["Upload".into(), ALL_QUEUED.into()],
            missing_rpcs: vec!["Reboot".into()],
            max_request_bytes: 4096,
            ..Quirks::default()
        });
        assert_eq!((said.gpv_batch, said.refuses_empty_path), (50, false));
        assert_eq!(said.unsupported, ["Reboot"]);
        assert!(!said.no_queued_transfers);
        assert_eq!(said.longest_request, Some(4096));
        assert_eq!(said.profile, "acme@3");
        let more = with(Quirks {
            max_names_per_read: 9999,
            ..Quirks::default()
        });
        assert_eq!(more.gpv_batch, 128, "not more than the server's own");
    }
}
