//! Signed calls of AWS services as levers and receivers make them: what is asked, what came back, what an error means.
//!
//! The transport is not here: whoever wires the program hands in an [`Aws`] that signs and sends. A call says of itself whether it
//! changes something, so one wrapper can forbid, list or guard every effect ([`crate::lever::DryRun`]).

use sluice_schemas::ErrorClass;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Account it is made in; empty for that of the program's own credentials.
    pub account: String,
    /// First part of the host name, for example `bedrock-agent`.
    pub host: &'static str,
    /// Service name in the signature, for example `bedrock`.
    pub service: &'static str,
    /// Region, for the host and the signature.
    pub region: String,
    /// Whether the host name has no region, as that of IAM.
    pub global: bool,
    /// HTTP method.
    pub method: Method,
    /// Path and query, escaped.
    pub path: String,
    /// Further headers, signed, for example `x-amz-target`.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Body,
    /// Name of the operation as IAM grants it, for example `iam:AttachRolePolicy`.
    pub action: &'static str,
    /// Whether it changes something.
    pub writes: bool,
}

/// HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `DELETE`.
    Delete,
}

/// Body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// None.
    None,
    /// `application/json`, or `application/x-amz-json-1.x` where a header says so.
    Json(String),
    /// A form, for query services such as IAM, STS and SNS.
    Form(String),
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Its body.
    pub body: Vec<u8>,
    /// The service's id of the request; empty if it gave none.
    pub request_id: String,
}

/// Something that makes calls.
pub trait Aws: Send + Sync {
    /// Makes a call once.
    ///
    /// # Errors
    /// See [`CallError`].
    fn call(&self, call: &Call) -> Result<Reply, CallError>;
}

/// Why a call was not answered as hoped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The service refused.
    #[error("{action}: {code}: {message}")]
    Refused {
        /// What was called.
        action: &'static str,
        /// HTTP status.
        status: u16,
        /// Error code of the service, or the status.
        code: String,
        /// In its words.
        message: String,
        /// The service's id of the request.
        request_id: String,
    },
    /// There are no credentials, or they cannot be renewed.
    #[error("{action}: no usable credentials: {detail}")]
    Credentials {
        /// What was called.
        action: &'static str,
        /// Why.
        detail: String,
    },
    /// No answer: whether the call took effect is not known.
    #[error("{action}: no answer from {host}: {detail}")]
    Network {
        /// What was called.
        action: &'static str,
        /// Host.
        host: String,
        /// What the client says.
        detail: String,
    },
    /// An answer that is none.
    #[error("{action}: an answer that cannot be read: {detail}")]
    Garbled {
        /// What was called.
        action: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The call was not made: this process may not act now.
    #[error("{action}: not made: {reason}")]
    Withheld {
        /// What would have been called.
        action: &'static str,
        /// Why not.
        reason: String,
    },
}

impl CallError {
    fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code.strip_suffix("Exception").unwrap_or(code),
            _ => "",
        }
    }

    /// Tells whether the service asks to be called less often. Sources: AWS, "Common error types" of each API reference.
    #[must_use]
    pub fn is_throttling(&self) -> bool {
        let codes = ["Throttling", "Throttled", "TooManyRequests", "RequestLimitExceeded", "RequestThrottled", "SlowDown"];
        matches!(self, Self::Refused { status: 429, .. }) || codes.contains(&self.code())
    }

    /// Tells whether the caller lacks a permission.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        ["AccessDenied", "UnauthorizedOperation", "NotAuthorized", "AuthorizationError"].contains(&self.code())
    }

    /// Tells whether the thing asked for is not there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        ["NoSuchEntity", "ResourceNotFound", "NotFound", "PolicyNotAttached", "TargetNotFound"].contains(&self.code())
    }

    /// Tells whether a quota of the account or the thing is full.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        ["LimitExceeded", "ConstraintViolation", "ServiceQuotaExceeded"].contains(&self.code())
    }

    /// Tells whether the thing may not be changed by anyone, as a service-linked role.
    #[must_use]
    pub fn is_unmodifiable(&self) -> bool {
        self.code() == "UnmodifiableEntity"
    }

    /// Returns what the error asks of its caller.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Refused { status, .. } if *status >= 500 => ErrorClass::Transient,
            Self::Refused { .. } if self.is_throttling() || self.code() == "ConcurrentModification" => ErrorClass::Transient,
            Self::Network { .. } | Self::Garbled { .. } | Self::Withheld { .. } => ErrorClass::Transient,
            Self::Refused { .. } | Self::Credentials { .. } => ErrorClass::Misconfigured,
        }
    }
}
