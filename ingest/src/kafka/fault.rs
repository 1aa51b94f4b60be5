//! What librdkafka's errors mean for whoever runs this: what is wrong with what, and what to do.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use sluice_schemas::ErrorClass;

use crate::source::SourceError;

/// What an error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// It passes, or librdkafka tries again by itself: shown, not raised.
    Passing,
    /// The records behind the position must be fetched again, or are not there any more.
    Refetch,
    /// It does not pass without somebody's doing. Raised until the first record was read; later it may pass too.
    Lasting,
    /// Another process has taken this member's place.
    Fenced,
}

/// Weighs an error.
pub(super) const fn weigh(code: Code) -> Weight {
    match code {
        Code::AutoOffsetReset
        | Code::OffsetOutOfRange
        | Code::LogTruncation
        | Code::BadMessage
        | Code::BadCompression
        | Code::InvalidMessage => Weight::Refetch,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SSL
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::InvalidTopic
        | Code::InvalidGroupId
        | Code::InconsistentGroupProtocol
        | Code::InvalidSessionTimeout
        | Code::UnsupportedFeature
        | Code::UnsupportedCompressionType => Weight::Lasting,
        Code::FencedInstanceId | Code::Fenced => Weight::Fenced,
        _ => Weight::Passing,
    }
}

/// Returns what is wrong and what to do, in words.
pub(super) fn advice(code: Code, said: &str, security: &str) -> (String, String) {
    let (problem, fix): (&str, &str) = match code {
        Code::Authentication | Code::SaslAuthenticationFailed => {
            ("authentication failed", "check user, password and mechanism, or the AWS credentials and the policy's kafka-cluster:Connect")
        }
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState => {
            ("the brokers do not take this SASL mechanism", "choose one that the listener has enabled")
        }
        Code::SSL => (
            "the TLS handshake failed",
            "check that the port is a TLS listener, and that `ca` holds the authority that signed its certificate",
        ),
        Code::TopicAuthorizationFailed => ("not allowed to read the topic", "grant Describe and Read on the topic"),
        Code::GroupAuthorizationFailed => ("not allowed to use the group", "grant Describe and Read on the group"),
        Code::ClusterAuthorizationFailed => ("not allowed to use the cluster", "grant Describe on the cluster"),
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::InvalidTopic => (
            "there is no such topic",
            "create it, or correct `topics`; without the right to describe it a topic looks as if it were not there",
        ),
        Code::InconsistentGroupProtocol => {
            ("other members of the group hand over partitions in another way", "give this program a group of its own")
        }
        Code::InvalidGroupId => ("the brokers do not take this group name", "correct `group`"),
        Code::FencedInstanceId | Code::Fenced => {
            ("another process has joined with the same group_instance_id", "stop one of the two, or give each its own")
        }
        Code::Resolve => ("a broker's name is not known", "correct `brokers`"),
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => ("a record is larger than what is read", "raise `max_record`"),
        _ if said.contains("SSL listener") => (
            "a broker hung up on a plain connection",
            "the port looks like a TLS listener: set `security` to tls, sasl with tls, or msk_iam",
        ),
        // A clean close by the broker carries no hint of librdkafka's own, only the state in which it came.
        _ if said.contains("PLAINTEXT broker listener") || (said.contains("closed by peer") && said.contains("in state SSL_HANDSHAKE")) => {
            (
                "a broker hung up on an encrypted connection",
                "the port looks like a plain listener: set `security` to plaintext, or sasl without tls",
            )
        }
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut | Code::NetworkException | Code::RequestTimedOut => {
            ("the brokers cannot be reached", "check `brokers`, that `security` fits the listener, the network and the security group")
        }
        _ => ("the brokers report an error", "see what they say"),
    };
    let problem = if said.is_empty() { problem.to_owned() } else { format!("{problem} ({said}; security is {security})") };
    (problem, fix.to_owned())
}

/// Returns the error of the whole source.
pub(super) fn service(resource: String, code: Code, said: &str, security: &str) -> SourceError {
    let (problem, fix) = advice(code, said, security);
    let class = match weigh(code) {
        Weight::Lasting => ErrorClass::Misconfigured,
        Weight::Fenced => ErrorClass::Fenced,
        Weight::Passing | Weight::Refetch => ErrorClass::Transient,
    };
    SourceError::Service { resource, problem, fix, class, source: None }
}

/// Returns the error of settings that cannot work.
pub(super) fn misconfigured(resource: String, problem: String, source: Option<KafkaError>) -> SourceError {
    let fix = "correct the settings".to_owned();
    let source = source.map(|source| Box::new(source) as Box<dyn std::error::Error + Send + Sync>);
    SourceError::Service { resource, problem, fix, class: ErrorClass::Misconfigured, source }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode as Code;
    use sluice_schemas::ErrorClass;

    use super::service;

    #[test]
    fn the_resource_the_problem_and_the_fix_are_named() {
        let error = service("kafka b:9092".to_owned(), Code::Authentication, "SASL handshake failed", "sasl over tls");
        assert_eq!(error.class(), ErrorClass::Misconfigured);
        let text = error.to_string();
        for part in ["kafka b:9092: authentication failed (SASL handshake failed", "check user, password"] {
            assert!(text.contains(part), "{text}");
        }
        let error = service("b".to_owned(), Code::BrokerTransportFailure, "connecting to a SSL listener?", "plaintext");
        assert!(error.to_string().contains("looks like a TLS listener"), "{error}");
        assert_eq!(error.class(), ErrorClass::Transient);
        for hung_up in [
            "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
            "Disconnected: SSL connection closed by peer (after 0ms in state SSL_HANDSHAKE)",
        ] {
            let error = service("b".to_owned(), Code::BrokerTransportFailure, hung_up, "tls");
            assert!(error.to_string().contains("looks like a plain listener"), "{error}");
        }
        let later = "Disconnected: SSL connection closed by peer (after 12ms in state UP)";
        let error = service("b".to_owned(), Code::BrokerTransportFailure, later, "tls");
        assert!(!error.to_string().contains("plain listener"), "{error}");
        assert_eq!(service("b".to_owned(), Code::FencedInstanceId, "", "").class(), ErrorClass::Fenced);
    }
}
