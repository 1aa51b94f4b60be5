//! What a failure of DynamoDB means to the person who runs sluice.

use std::error::Error;
use std::fmt;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use sluice_schemas::error::causes;

use crate::store::StoreError;

/// What was asked, for the text of its failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// What was to be done.
    pub(super) operation: &'static str,
    /// IAM actions it needs.
    pub(super) permission: &'static str,
    /// Table.
    pub(super) table: &'a str,
    /// Region.
    pub(super) region: &'a str,
}

/// Tells whether the same call may succeed when it is sent again. A cancelled transaction is for the caller to judge.
pub(super) fn is_worth_another_try<E, R>(call: Call<'_>, error: &SdkError<E, R>) -> bool
where
    E: ProvideErrorMetadata + Error + 'static,
    R: fmt::Debug + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    !code.starts_with("Transaction") && matches!(explain(call, error), StoreError::Unavailable { .. })
}

/// Turns a failure of the SDK into what went wrong and what to do about it.
pub(super) fn explain<E, R>(call: Call<'_>, error: &SdkError<E, R>) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
    R: fmt::Debug + 'static,
{
    let meta = error.as_service_error().map(ProvideErrorMetadata::meta);
    let code = meta.and_then(|meta| meta.code()).map_or("", |code| code.rsplit('#').next().unwrap_or(code));
    let causes = causes(error);
    let problem = match meta.and_then(|meta| meta.message()) {
        Some(message) => format!("{code}: {message}"),
        None => causes.clone(),
    };
    // A source of credentials that fails for the moment is no want of them.
    let wanting = ["provider was not enabled", "not properly configured"].iter().any(|words| causes.contains(words));
    let was_sent = !matches!(error, SdkError::ConstructionFailure(_)) && !wanting;
    refusal(call, code, problem, was_sent)
}

/// Codes: "Error handling with DynamoDB" and the common errors of its API reference.
fn refusal(call: Call<'_>, code: &str, problem: String, was_sent: bool) -> StoreError {
    let Call { operation, permission, table, region } = call;
    let fix = match code {
        "AccessDeniedException" => format!("allow {permission} on the table to the role sluice runs as"),
        "ResourceNotFoundException" => {
            format!("check its name, its region ({region}) and the account of the credentials, or make the table (string keys pk and sk)")
        }
        "ExpiredTokenException" | "ExpiredToken" => {
            "the credentials have expired: renew them (for example aws sso login) or run under a role".to_owned()
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "InvalidSignatureException" => {
            format!(
                "check the access key, the clock of this machine and that the account may use region {region}: aws sts get-caller-identity"
            )
        }
        "ResourceInUseException" => "wait until the table is active".to_owned(),
        "ValidationException" | "SerializationException" | "IdempotentParameterMismatchException" => {
            "check that the table has the string keys pk and sk, and that names are neither empty nor longer than 1024 bytes".to_owned()
        }
        // A request that was not sent for want of credentials, a region or a profile.
        "" if !was_sent => "set AWS_REGION and credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID), or give this machine a role".to_owned(),
        // Throttled, out of service, unreachable or without an answer: worth another try.
        _ => return StoreError::Unavailable { operation, detail: format!("table {table} in {region}: {problem}") },
    };
    StoreError::Refused { operation, place: format!("table {table} in {region}"), problem, fix }
}

#[cfg(test)]
mod tests {
    use sluice_schemas::ErrorClass;

    use super::*;

    #[test]
    fn each_failure_names_the_table_and_its_remedy() {
        let call = Call { operation: "claim a fire id", permission: "dynamodb:PutItem", table: "sluice", region: "eu-west-1" };
        let cases = [
            ("AccessDeniedException", true, "allow dynamodb:PutItem", ErrorClass::Misconfigured),
            ("ResourceNotFoundException", true, "make the table", ErrorClass::Misconfigured),
            ("ExpiredTokenException", true, "have expired", ErrorClass::Misconfigured),
            ("UnrecognizedClientException", true, "access key", ErrorClass::Misconfigured),
            ("ValidationException", true, "string keys", ErrorClass::Misconfigured),
            ("", false, "AWS_REGION", ErrorClass::Misconfigured),
            ("", true, "why", ErrorClass::Transient),
            ("ProvisionedThroughputExceededException", true, "why", ErrorClass::Transient),
            ("InternalServerError", true, "why", ErrorClass::Transient),
        ];
        for (code, was_sent, words, class) in cases {
            let error = refusal(call, code, "why".to_owned(), was_sent);
            assert_eq!(error.class(), class, "{code}");
            let text = error.to_string();
            assert!(text.contains(words) && text.contains("table sluice in eu-west-1") && text.contains("claim a fire id"), "{text}");
        }
    }
}
