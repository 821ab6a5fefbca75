//! The settings of the admin client (`AdminClientConfig`).

use super::SettingError;
use super::setting::{ANY, at_least, settings};
use crate::time::Span;

const NOT_MODELLED: &[&str] = &[
    "bootstrap.servers",
    "metric.reporters",
    "metrics.*",
    "ssl.*",
    "sasl.*",
    "security.*",
    "client.dns.lookup",
];

settings! {
    /// The settings of an admin client.
    AdminConfig(era), not_modelled: NOT_MODELLED, later: &[];
    client_id: String = "client.id", ANY, String::new(), "The name in requests.";
    request_timeout_ms: Span = "request.timeout.ms", at_least(0), Span::secs(era.pick([120, 120, 120, 30])), "How long an answer may take.";
    default_api_timeout_ms: Span = "default.api.timeout.ms", at_least(0), Span::secs(era.pick([120, 120, 120, 60])), "How long a call without time-out may take.";
    retries: i32 = "retries", at_least(0), era.pick([5, 5, 5, i32::MAX]), "How often a failed call is sent again.";
    retry_backoff_ms: Span = "retry.backoff.ms", at_least(0), Span::millis(100), "Rest before that.";
    metadata_max_age_ms: Span = "metadata.max.age.ms", at_least(0), Span::secs(300), "Age at which metadata is asked for again.";
    reconnect_backoff_ms: Span = "reconnect.backoff.ms", at_least(0), Span::millis(50), "Rest before connecting again, at first.";
    reconnect_backoff_max_ms: Span = "reconnect.backoff.max.ms", at_least(0), Span::millis(era.pick([50, 50, 1000, 1000])), "Rest before connecting again, at most.";
    connections_max_idle_ms: Span = "connections.max.idle.ms", ANY, Span::secs(300), "A connection without traffic for this long is closed.";
}

impl AdminConfig {
    /// The rules between settings (`KafkaAdminClient.configureDefaultApiTimeoutMs`).
    pub fn validate(&self) -> Result<(), SettingError> {
        if self.default_api_timeout_ms < self.request_timeout_ms {
            let value = self.get("default.api.timeout.ms").unwrap_or_default();
            return Err(SettingError::invalid(
                "default.api.timeout.ms",
                value,
                "at least request.timeout.ms",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::Era;

    #[test]
    fn a_call_may_not_end_before_its_request() {
        let mut admin = AdminConfig::defaults(Era::V2_8);
        assert_eq!(admin.validate(), Ok(()));
        admin.set("default.api.timeout.ms", "1000").unwrap();
        assert!(admin.validate().is_err());
    }
}
