//! Every statement, each prepared once. `$.` stands for the keyspace.
//!
//! What writes carries its event time (or revision) as CQL timestamp, so that the nodes merge it
//! as the contract says; nothing is read before it is written. All but the conditional ones, of
//! tasks' revisions and of idempotency keys, may be repeated.

macro_rules! statements {
    ($($name:ident $label:literal $text:expr;)*) => {
        /// A statement.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Statement {
            $($name,)*
        }

        impl Statement {
            /// All, in the order of their numbers.
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in metrics.
            pub(super) const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

statements! {
    DevicePut "device_put" "INSERT INTO $.device (tenant, device, manufacturer, oui, product_class, \
        serial_number, software_version, hardware_version, root, connection_request_url, \
        remote_address, last_seen, last_inform, last_bootstrap, last_boot, last_events, tags, \
        periodic_inform_interval, cwmp_namespace, inform_count) \
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    DeviceFirstSeen "device_first_seen" "UPDATE $.device USING TIMESTAMP ? \
        SET first_seen = first_seen + ? WHERE tenant = ? AND device = ?";
    DeviceRead "device_read" "SELECT first_seen, \
        manufacturer, WRITETIME(manufacturer), oui, WRITETIME(oui), \
        product_class, WRITETIME(product_class), serial_number, WRITETIME(serial_number), \
        software_version, WRITETIME(software_version), \
        hardware_version, WRITETIME(hardware_version), root, WRITETIME(root), \
        connection_request_url, WRITETIME(connection_request_url), \
        remote_address, WRITETIME(remote_address), last_seen, WRITETIME(last_seen), \
        last_inform, WRITETIME(last_inform), last_bootstrap, WRITETIME(last_bootstrap), \
        last_boot, WRITETIME(last_boot), last_events, WRITETIME(last_events), \
        tags, WRITETIME(tags), periodic_inform_interval, WRITETIME(periodic_inform_interval), \
        cwmp_namespace, WRITETIME(cwmp_namespace), inform_count, WRITETIME(inform_count) \
        FROM $.device WHERE tenant = ? AND device = ?";
    DeviceDelete "device_delete" "DELETE FROM $.device USING TIMESTAMP ? \
        WHERE tenant = ? AND device = ?";

    ListAdd "device_list_add" "INSERT INTO $.device_list (tenant, shard, device) VALUES (?, ?, ?) \
        USING TIMESTAMP ?";
    ListRemove "device_list_remove" "DELETE FROM $.device_list USING TIMESTAMP ? \
        WHERE tenant = ? AND shard = ? AND device = ?";
    ListRead "device_list_read" "SELECT device FROM $.device_list \
        WHERE tenant = ? AND shard = ? AND device > ? LIMIT ?";
    ListCount "device_list_count" "SELECT COUNT(*) FROM $.device_list \
        WHERE tenant = ? AND shard = ?";
    TenantAdd "tenant_add" "INSERT INTO $.tenant (bucket, tenant) VALUES (?, ?)";
    TenantRead "tenant_read" "SELECT tenant FROM $.tenant WHERE bucket = ?";

    ParameterPut "parameter_put" "UPDATE $.parameter USING TIMESTAMP ? \
        SET value = ?, writable = ?, notification = ?, access_list = ? \
        WHERE tenant = ? AND device = ? AND path = ?";
    ParameterDelete "parameter_delete" "DELETE FROM $.parameter USING TIMESTAMP ? \
        WHERE tenant = ? AND device = ? AND path = ?";
    ParameterDeleteBelow "parameter_delete_below" "DELETE FROM $.parameter USING TIMESTAMP ? \
        WHERE tenant = ? AND device = ? AND path >= ? AND path < ?";
    ParameterDeleteAll "parameter_delete_all" "DELETE FROM $.parameter USING TIMESTAMP ? \
        WHERE tenant = ? AND device = ?";
    ParameterFrom "parameter_from" "SELECT path, value, WRITETIME(value), \
        writable, WRITETIME(writable), notification, WRITETIME(notification), \
        access_list, WRITETIME(access_list) FROM $.parameter \
        WHERE tenant = ? AND device = ? AND path >= ? LIMIT ?";
    ParameterBetween "parameter_between" "SELECT path, value, WRITETIME(value), \
        writable, WRITETIME(writable), notification, WRITETIME(notification), \
        access_list, WRITETIME(access_list) FROM $.parameter \
        WHERE tenant = ? AND device = ? AND path >= ? AND path < ? LIMIT ?";
    ParameterByPath "parameter_by_path" "SELECT path, value, WRITETIME(value), \
        writable, WRITETIME(writable), notification, WRITETIME(notification), \
        access_list, WRITETIME(access_list) FROM $.parameter \
        WHERE tenant = ? AND device = ? AND path IN ?";

    EventAdd "event_add" "INSERT INTO $.device_event \
        (tenant, device, period, time, id, path, payload) VALUES (?, ?, ?, ?, ?, ?, ?) \
        USING TIMESTAMP ? AND TTL ?";
    EventRead "event_read" "SELECT time, id, path, payload FROM $.device_event \
        WHERE tenant = ? AND device = ? AND period = ? AND (time, id) < (?, ?)";
    EventDelete "event_delete" "DELETE FROM $.device_event USING TIMESTAMP ? \
        WHERE tenant = ? AND device = ? AND period = ?";
    PeriodAdd "event_period_add" "INSERT INTO $.device_event_period (tenant, device, period) \
        VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    PeriodRead "event_period_read" "SELECT period FROM $.device_event_period \
        WHERE tenant = ? AND device = ?";
    PeriodDelete "event_period_delete" "DELETE FROM $.device_event_period USING TIMESTAMP ? \
        WHERE tenant = ? AND device = ?";

    IndexAdd "index_add" "INSERT INTO $.device_index (tenant, attribute, shard, value, device) \
        VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
    IndexRemove "index_remove" "DELETE FROM $.device_index USING TIMESTAMP ? \
        WHERE tenant = ? AND attribute = ? AND shard = ? AND value = ? AND device = ?";
    IndexSearch "index_search" "SELECT value, device FROM $.device_index \
        WHERE tenant = ? AND attribute = ? AND shard = ? AND (value, device) > (?, ?) LIMIT ?";
    IndexOfAdd "index_of_add" "INSERT INTO $.device_index_of (tenant, device, attribute, value) \
        VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    IndexOfRemove "index_of_remove" "DELETE FROM $.device_index_of USING TIMESTAMP ? \
        WHERE tenant = ? AND device = ? AND attribute = ? AND value = ?";
    IndexOfRead "index_of_read" "SELECT attribute, value FROM $.device_index_of \
        WHERE tenant = ? AND device = ?";
    IndexOfDelete "index_of_delete" "DELETE FROM $.device_index_of USING TIMESTAMP ? \
        WHERE tenant = ? AND device = ?";

    TaskName "task_name" "INSERT INTO $.task (tenant, day, shard, id, device) \
        VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
    TaskEnter "ledger_enter" "INSERT INTO $.ledger (tenant, id, device, state, revision, key) \
        VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    TaskNext "ledger_next" "UPDATE $.ledger SET device = ?, state = ?, revision = ? \
        WHERE tenant = ? AND id = ? IF revision = ?";
    TaskMove "ledger_move" "INSERT INTO $.ledger (tenant, id, device, state, revision, key) \
        VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS";
    TaskRead "ledger_read" "SELECT device, state, revision, key FROM $.ledger \
        WHERE tenant = ? AND id = ?";
    TaskRemove "ledger_remove" "DELETE FROM $.ledger USING TIMESTAMP ? \
        WHERE tenant = ? AND id = ?";
    TaskFirstRead "task_read" "SELECT device, state, WRITETIME(state), key FROM $.task \
        WHERE tenant = ? AND day = ? AND shard = ? AND id = ?";
    TaskIds "task_ids" "SELECT id FROM $.task \
        WHERE tenant = ? AND day = ? AND shard = ? AND id < ? LIMIT ?";
    TaskOld "task_old" "SELECT id, device FROM $.task \
        WHERE tenant = ? AND day = ? AND shard = ? AND id < ?";
    TaskDelete "task_delete" "DELETE FROM $.task USING TIMESTAMP ? \
        WHERE tenant = ? AND day = ? AND shard = ? AND id = ?";
    DayAdd "task_day_add" "INSERT INTO $.task_day (tenant, day) VALUES (?, ?)";
    DayRead "task_day_read" "SELECT day FROM $.task_day WHERE tenant = ? AND day <= ?";
    DayRemove "task_day_remove" "DELETE FROM $.task_day WHERE tenant = ? AND day = ?";
    TaskOfPut "task_of_put" "INSERT INTO $.task_by_device (tenant, device, id, ended) \
        VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    TaskOfRead "task_of_read" "SELECT id, ended FROM $.task_by_device \
        WHERE tenant = ? AND device = ? AND id < ? LIMIT ?";
    TaskOfDelete "task_of_delete" "DELETE FROM $.task_by_device USING TIMESTAMP ? \
        WHERE tenant = ? AND device = ? AND id = ?";
    OpenAdd "open_task_add" "INSERT INTO $.open_task (bucket, tenant, id) VALUES (?, ?, ?) \
        USING TIMESTAMP ?";
    OpenRemove "open_task_remove" "DELETE FROM $.open_task USING TIMESTAMP ? \
        WHERE bucket = ? AND tenant = ? AND id = ?";
    OpenRead "open_task_read" "SELECT tenant, id FROM $.open_task \
        WHERE bucket = ? AND (tenant, id) > (?, ?) LIMIT ?";
    OpenOfTenant "open_task_of_tenant" "SELECT id FROM $.open_task \
        WHERE bucket = ? AND tenant = ? AND id < ? ORDER BY tenant DESC, id DESC LIMIT ?";
    KeyEnter "task_key_enter" "INSERT INTO $.task_key (tenant, key, id, device, state, revision) \
        VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS";
    KeyRead "task_key_read" "SELECT id, device, state, revision FROM $.task_key \
        WHERE tenant = ? AND key = ?";
    KeyDelete "task_key_delete" "DELETE FROM $.task_key WHERE tenant = ? AND key = ? IF id = ?";

    DocumentPut "document_put" "INSERT INTO $.document (tenant, kind, shard, key, payload) \
        VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
    DocumentEnter "document_enter" "INSERT INTO $.document (tenant, kind, shard, key, payload) \
        VALUES (?, ?, ?, ?, ?) IF NOT EXISTS";
    DocumentRead "document_read" "SELECT payload, WRITETIME(payload) FROM $.document \
        WHERE tenant = ? AND kind = ? AND shard = ? AND key = ?";
    DocumentList "document_list" "SELECT key, payload, WRITETIME(payload) FROM $.document \
        WHERE tenant = ? AND kind = ? AND shard = ? AND key >= ? AND key < ? LIMIT ?";
    DocumentDelete "document_delete" "DELETE FROM $.document USING TIMESTAMP ? \
        WHERE tenant = ? AND kind = ? AND shard = ? AND key = ?";
}

impl Statement {
    /// Its text for a keyspace.
    pub(super) fn in_keyspace(self, keyspace: &str) -> String {
        self.text().replace("$.", &format!("{keyspace}."))
    }

    /// Whether it is decided among the replicas (Paxos) and must not be repeated blindly.
    pub(super) const fn is_conditional(self) -> bool {
        matches!(
            self,
            Self::KeyEnter
                | Self::KeyDelete
                | Self::TaskNext
                | Self::TaskMove
                | Self::DocumentEnter
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places() {
        for (place, statement) in Statement::ALL.iter().enumerate() {
            assert_eq!(*statement as usize, place);
        }
    }

    /// What is decided among the replicas is not made twice; all else may be, since it then is as if made once.
    #[test]
    fn what_may_be_repeated_changes_nothing_the_second_time() {
        for statement in Statement::ALL.iter().copied() {
            let text = statement.text();
            assert_eq!(statement.is_conditional(), text.contains(" IF "), "{text}");
            if statement.is_conditional() {
                continue;
            }
            let adds = text.contains(" + ?") || text.contains(" - ?");
            // To a set, which has it once.
            assert!(!adds || statement == Statement::DeviceFirstSeen, "{text}");
            for of_the_moment in ["now()", "uuid()", "currentTime", "toTimestamp"] {
                assert!(!text.contains(of_the_moment), "{text}");
            }
        }
    }

    #[test]
    fn none_filters_or_counts_on_the_clock_of_a_node() {
        for statement in Statement::ALL {
            let text = statement.in_keyspace("ks");
            assert!(
                !text.contains("ALLOW FILTERING") && !text.contains('$'),
                "{text}"
            );
            // What only names, and what is decided, needs no time; all else has that of its event.
            let writes = !text.starts_with("SELECT");
            let plain = [
                "tenant_add",
                "task_day_add",
                "task_day_remove",
                "ledger_next",
                "ledger_move",
                "task_key_enter",
                "document_enter",
                "task_key_delete",
            ];
            if writes && !plain.contains(&statement.label()) {
                assert!(text.contains("USING TIMESTAMP ?"), "{text}");
            }
        }
    }
}
