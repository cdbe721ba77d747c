//! What the clients of the hub and of servers have in common.

use std::time::Duration;
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

/// Statuses are answers, redirects are not followed, so that a token or key goes where it belongs and nowhere else, and certificates are those
/// that the system trusts.
pub(crate) fn agent() -> ConfigBuilder<AgentScope> {
    let trusted = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(Duration::from_secs(15)))
        .user_agent(concat!("concord/", env!("CARGO_PKG_VERSION")))
        .tls_config(trusted.build())
}
