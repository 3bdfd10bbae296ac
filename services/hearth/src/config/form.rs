//! Whether the settings say one whole thing: the embedded form, or the distributed one with all that its roles need.

use super::HearthConfig;
use crate::roles::Role;
use hearth_clients::ServiceName;

impl HearthConfig {
    /// Whether state is on NATS, Redis and CQL.
    pub fn is_distributed(&self) -> bool {
        !self.nats.servers.is_empty() && !self.redis.nodes.is_empty() && !self.cql.nodes.is_empty()
    }

    /// Whether this process has the role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether this process has all roles.
    pub fn has_all(&self) -> bool {
        Role::ALL.iter().all(|role| self.has(*role))
    }

    /// Whether other processes may call this one's roles: they can be trusted, and there is something to call.
    pub fn serves_others(&self) -> bool {
        let can = self.internal.tls.cert.is_some() || self.internal.without_tls;
        let callable = self.roles.iter().any(|role| role.service().is_some());
        self.is_distributed() && can && callable
    }

    /// Where a role is that this process doesn't have.
    pub fn peers_of(&self, service: ServiceName) -> &[String] {
        let peers = &self.internal.peers;
        match service {
            ServiceName::DeviceState => &peers.device_state,
            ServiceName::Workflow => &peers.workflow,
            ServiceName::Wakeup => &peers.wakeup,
            ServiceName::Files => &peers.files,
        }
    }
}

/// What doesn't fit together, by key.
pub(super) fn problems(config: &HearthConfig) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut problem = |key: &str, text: String| problems.push((key.to_owned(), text));
    let backends = [
        ("nats.servers", config.nats.servers.is_empty()),
        ("redis.nodes", config.redis.nodes.is_empty()),
        ("cql.nodes", config.cql.nodes.is_empty()),
    ];
    let given = backends.iter().filter(|(_, empty)| !empty).count();
    if (1..backends.len()).contains(&given) {
        for (key, _) in backends.iter().filter(|(_, empty)| *empty) {
            let all = "nats.servers, redis.nodes and cql.nodes go together: set all of them (the distributed form) or \
                       none (the embedded one)";
            problem(key, all.to_owned());
        }
    }
    if config.roles.is_empty() {
        problem("roles", "expected at least one role".to_owned());
    }
    if config.has_all() {
        return problems;
    }
    if given == 0 {
        let text = "fewer than all roles need the distributed form: set nats.servers, redis.nodes and cql.nodes";
        problem("roles", text.to_owned());
        return problems;
    }
    let mut calls_others = false;
    for service in config.roles.iter().flat_map(|role| role.calls()) {
        let role = service.role();
        if config
            .roles
            .iter()
            .any(|own| own.service() == Some(*service))
        {
            continue;
        }
        calls_others = true;
        if config.peers_of(*service).is_empty() {
            let key = format!("internal.peers.{}", role.replace('-', "_"));
            let text = format!(
                "the {role} role is needed and not in this process: say where it is, such as [\"{role}:7600\"]"
            );
            if !problems.iter().any(|(known, _)| *known == key) {
                problems.push((key, text));
            }
        }
    }
    let called = config.roles.iter().any(|role| role.service().is_some());
    let trusted = config.internal.tls.cert.is_some() || config.internal.without_tls;
    if (calls_others || called) && !trusted {
        let text = "processes with fewer than all roles trust each other by certificates: set internal.tls.ca, cert and \
                    key (`hearth ca init`, `hearth ca issue`), or, on loopback only, internal.without_tls";
        problems.push(("internal.tls.cert".to_owned(), text.to_owned()));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(config: &HearthConfig) -> Vec<String> {
        problems(config).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn the_form_is_whole_or_told() {
        let mut config = HearthConfig::default();
        assert!(keys(&config).is_empty());
        config.roles = vec![Role::Gateway];
        assert_eq!(keys(&config), ["roles"]);
        config.nats.servers = vec!["nats://n:4222".into()];
        config.roles = Role::ALL.to_vec();
        assert_eq!(keys(&config), ["redis.nodes", "cql.nodes"]);
        config.redis.nodes = vec!["redis://r:6379".into()];
        config.cql.nodes = vec!["c:9042".into()];
        assert!(keys(&config).is_empty() && !config.serves_others());
        config.roles = vec![Role::Gateway];
        assert_eq!(
            keys(&config),
            [
                "internal.peers.workflow",
                "internal.peers.device_state",
                "internal.tls.cert"
            ]
        );
        config.internal.peers.workflow = vec!["workflow:7600".into()];
        config.internal.peers.device_state = vec!["device-state:7600".into()];
        config.internal.tls.cert = Some("tls.crt".into());
        assert!(keys(&config).is_empty() && !config.serves_others());
        config.roles = vec![Role::DeviceState];
        assert!(keys(&config).is_empty() && config.serves_others());
        config.roles = Vec::new();
        assert_eq!(keys(&config), ["roles"]);
    }
}
