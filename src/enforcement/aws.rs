//! Makes the calls of levers: one signed client for each account, each with the credentials of a role there.
//!
//! Owns: which credentials a call is made with, and how long it may take. Does not own: what is called, whether it may be, and when it
//! is made again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_enforce::aws::{Aws, Body, Call, CallError, Method, Reply};
use sluice_enforce::iam::caller_arn;
use sluice_ingest::signed::{Answer, AskError, AssumedRole, Manner, Question, SdkConfig, SignedClient};
use sluice_schemas::Clock;
use ureq::http;

/// Name of the session that CloudTrail shows.
const SESSION: &str = "sluice-enforcer";
/// Time for a call and its whole answer, unless set: shorter than a lease, so that one who lost it has no call under way.
const TIMEOUT: Duration = Duration::from_secs(10);

/// With which credentials calls are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallerSettings {
    /// Role to take on in the account of the credentials.
    pub(crate) own_role: Option<String>,
    /// Role to take on in an account other than that of the credentials, with `{account}` for its id.
    pub(crate) role: Option<String>,
    /// What the trust policies of these roles ask for in `sts:ExternalId`.
    pub(crate) external_id: Option<String>,
    /// Time for a call.
    pub(crate) timeout: Option<Duration>,
}

/// A caller; calls of one account follow each other, those of several run side by side.
pub(crate) struct Caller {
    config: SdkConfig,
    settings: CallerSettings,
    clock: Arc<dyn Clock>,
    /// The account of the credentials, once it is known.
    own: Mutex<Option<String>>,
    /// By account; the program's own has the empty name.
    clients: Mutex<HashMap<String, Arc<Mutex<SignedClient>>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Caller {
    /// Returns a caller; nothing is asked yet.
    pub(crate) fn new(config: SdkConfig, settings: CallerSettings, clock: Arc<dyn Clock>) -> Self {
        Self { config, settings, clock, own: Mutex::default(), clients: Mutex::default() }
    }

    /// Sends with the credentials of an account, empty for the program's own.
    fn send(&self, account: &str, call: &Call) -> Result<Answer, CallError> {
        let client = self.client(account, call.action)?;
        let (question, manner) = (question(call), self.manner(call));
        let sent = locked(&client).send(&question, &manner, self.clock.now());
        sent.map_err(|error| failure(call.action, error))
    }

    /// Signs a call with the program's own credentials and returns the headers; nothing is sent.
    pub(crate) fn sign(&self, call: &Call) -> Result<Vec<(String, String)>, CallError> {
        let client = self.client("", call.action)?;
        let signed = locked(&client).sign(&question(call), &self.manner(call), self.clock.now());
        signed.map_err(|error| failure(call.action, error))
    }

    /// Makes a call with the headers of somebody else's signature; no credentials of this program travel.
    pub(crate) fn forward(&self, call: &Call) -> Result<Reply, CallError> {
        let client = self.client("", call.action)?;
        let answer = locked(&client).forward(&question(call), &self.manner(call)).map_err(|error| failure(call.action, error))?;
        Ok(Reply { body: answer.body, request_id: answer.request_id })
    }

    /// Returns the region of the configuration.
    pub(crate) fn region(&self) -> Option<&str> {
        self.config.region().map(|region| region.as_ref())
    }

    fn client(&self, account: &str, action: &'static str) -> Result<Arc<Mutex<SignedClient>>, CallError> {
        if let Some(client) = locked(&self.clients).get(account) {
            return Ok(client.clone());
        }
        let external_id = self.settings.external_id.clone();
        let session = SESSION.to_owned();
        let role = match (account, &self.settings.role) {
            // Its trust policy names the role of the credentials: there is nobody to be told apart by an external id.
            ("", _) => self.settings.own_role.clone().map(|arn| AssumedRole { arn, session, external_id: None }),
            (account, Some(role)) => Some(AssumedRole { arn: role.replace("{account}", account), session, external_id }),
            (account, None) => {
                let detail = format!("account {account} is another one, and no role is configured to take on there");
                return Err(CallError::Credentials { action, detail });
            }
        };
        let client = SignedClient::with_role(&self.config, role.as_ref()).map_err(|error| failure(action, error))?;
        let client = Arc::new(Mutex::new(client));
        Ok(locked(&self.clients).entry(account.to_owned()).or_insert(client).clone())
    }

    /// The account of the credentials.
    fn own(&self) -> Result<String, CallError> {
        if let Some(own) = locked(&self.own).clone() {
            return Ok(own);
        }
        // A call of no account in particular is one of the credentials, so this asks itself only once.
        let arn = caller_arn(self)?;
        let own = arn.split(':').nth(4).unwrap_or_default().to_owned();
        if own.is_empty() {
            return Err(CallError::Garbled { action: "sts:GetCallerIdentity", detail: format!("'{arn}' names no account") });
        }
        *locked(&self.own) = Some(own.clone());
        Ok(own)
    }

    fn manner(&self, call: &Call) -> Manner {
        let method = match call.method {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
            Method::Put => http::Method::PUT,
            Method::Delete => http::Method::DELETE,
        };
        Manner { method: Some(method), headers: call.headers.clone(), timeout: Some(self.settings.timeout.unwrap_or(TIMEOUT)) }
    }
}

impl Aws for Caller {
    fn call(&self, call: &Call) -> Result<Reply, CallError> {
        let is_own = call.account.is_empty() || self.own()? == call.account;
        let answer = self.send(if is_own { "" } else { &call.account }, call)?;
        Ok(Reply { body: answer.body, request_id: answer.request_id })
    }
}

fn question(call: &Call) -> Question {
    let body = match &call.body {
        Body::None => sluice_ingest::signed::Body::None,
        Body::Json(text) => sluice_ingest::signed::Body::Json(text.clone()),
        Body::Form(text) => sluice_ingest::signed::Body::Form(text.clone()),
    };
    let (host, service, global) = (call.host, call.service, call.global);
    Question { host, service, region: call.region.clone(), global, path: call.path.clone(), body }
}

fn failure(action: &'static str, error: AskError) -> CallError {
    match error {
        AskError::Refused { status, code, message, request_id } => CallError::Refused { action, status, code, message, request_id },
        AskError::Credentials { detail } => CallError::Credentials { action, detail },
        AskError::Network { host, source } => CallError::Network { action, host, detail: source.to_string() },
        AskError::Garbled { detail } => CallError::Garbled { action, detail },
    }
}
