//! Asks AWS about one thing at a time: at a set pace, again after a while when throttled, with the credentials of the thing's account.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use serde_json::Value;
use sluice_schemas::directory::{Entry, EntryKind};
use sluice_schemas::{Clock, ErrorClass};

use super::answers::{self, tag_list, tag_map};
use super::iam::{self, escape};
use super::{Wanted, pins};
use crate::signed::{AskError, Body, Question, SignedClient};

/// Attempts of a question that failed for reasons that pass.
const ATTEMPTS: u32 = 5;
/// Pause after the first failed attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest time that a stop goes unnoticed.
const NAP: Duration = Duration::from_millis(100);

/// How to ask.
#[derive(Clone, Debug)]
pub struct AskerSettings {
    /// Questions a second, at most; at least one.
    pub per_second: u32,
    /// Role to take on for the things of an account, by account id; the program's own account needs none.
    pub roles: BTreeMap<String, String>,
}

/// Why nothing is known of a thing.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The service gave no answer, or refused.
    #[error("{action} in account {account}: {source}")]
    Ask {
        /// IAM action.
        action: &'static str,
        /// Account asked about.
        account: String,
        /// Cause.
        source: AskError,
    },
    /// The thing is in an account for which no role is configured.
    #[error("nothing is asked about account {account}: name a role for it in [directory.roles]")]
    OtherAccount {
        /// The account.
        account: String,
    },
    /// An answer that cannot be read.
    #[error("{action} in account {account}: {detail}")]
    Answer {
        /// IAM action.
        action: &'static str,
        /// Account asked about.
        account: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A stop was asked for meanwhile.
    #[error("stopped")]
    Stopped,
}

impl LookError {
    /// Returns what the error asks of its caller.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Ask { source, .. } => source.class(),
            Self::OtherAccount { .. } => ErrorClass::Misconfigured,
            Self::Answer { .. } | Self::Stopped => ErrorClass::Transient,
        }
    }

    /// Returns the permission that is missing, and where; `None` for other failures.
    #[must_use]
    pub fn denied(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Ask { action, account, source } if source.is_denied() => Some((action, account)),
            _ => None,
        }
    }

    /// Tells whether the thing is not there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Ask { source, .. } if source.is_gone())
    }
}

/// One question: its request, and the permission it takes.
pub(super) struct Ask<'a> {
    pub(super) action: &'static str,
    pub(super) account: &'a str,
    pub(super) question: Question,
}

/// Somebody who asks.
pub struct Asker {
    config: SdkConfig,
    settings: AskerSettings,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
    /// The account of the credentials, once it is known.
    own: Option<String>,
    clients: HashMap<String, SignedClient>,
    next_at: Option<Instant>,
    /// Permissions found missing while the rest of an answer could be had.
    denied: BTreeSet<(&'static str, String)>,
}

impl Asker {
    /// Returns one who gives up soon after `stop` is set.
    #[must_use]
    pub fn new(config: SdkConfig, settings: AskerSettings, clock: Arc<dyn Clock>, stop: Arc<AtomicBool>) -> Self {
        Self { config, settings, clock, stop, own: None, clients: HashMap::new(), next_at: None, denied: BTreeSet::new() }
    }

    /// Returns the permissions found missing since the last time, with their accounts, and forgets them.
    pub fn take_denied(&mut self) -> BTreeSet<(&'static str, String)> {
        std::mem::take(&mut self.denied)
    }

    /// Asks about one thing. What is no longer there is the last that was known of it, marked; tags that may not be read stay as they
    /// were.
    ///
    /// # Errors
    /// See [`LookError`].
    pub fn look_up(&mut self, wanted: &Wanted, known: Option<&Entry>) -> Result<Entry, LookError> {
        let found = match wanted {
            Wanted::InferenceProfile { arn } => self.profile(arn, known),
            Wanted::Role { partition, account, name } => self.role(partition, account, name, known),
            Wanted::User { partition, account, name } => self.user(partition, account, name),
        };
        match found {
            Err(error) if error.is_gone() => Ok(self.gone(wanted, known)),
            found => found,
        }
    }

    fn gone(&self, wanted: &Wanted, known: Option<&Entry>) -> Entry {
        let kind = match wanted {
            Wanted::InferenceProfile { .. } => EntryKind::InferenceProfile,
            Wanted::Role { .. } => EntryKind::Role,
            Wanted::User { .. } => EntryKind::User,
        };
        let mut entry = known.cloned().unwrap_or_else(|| Entry { kind, arn: wanted.arn(), ..Entry::default() });
        (entry.deleted, entry.seen_at) = (true, self.clock.now());
        entry
    }

    fn profile(&mut self, arn: &str, known: Option<&Entry>) -> Result<Entry, LookError> {
        let mut parts = arn.split(':').skip(3);
        let (region, account) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let id = arn.rsplit('/').next().unwrap_or_default();
        let path = format!("/inference-profiles/{}", escape(id));
        let question = bedrock(region, path, Body::None);
        let answer = self.json(Ask { action: "bedrock:GetInferenceProfile", account, question })?;
        let mut entry = answers::profile(&answer, self.clock.now());
        // The way it is called is the way it is looked up.
        entry.arn = arn.to_owned();
        let body = Body::Json(serde_json::json!({ "resourceARN": arn }).to_string());
        let question = bedrock(region, "/listTagsForResource".to_owned(), body);
        let tags = self.json(Ask { action: "bedrock:ListTagsForResource", account, question });
        entry.tags = self.tags_or_known(tags.map(|answer| tag_list(&answer["tags"])), known)?;
        Ok(entry)
    }

    fn role(&mut self, partition: &str, account: &str, name: &str, known: Option<&Entry>) -> Result<Entry, LookError> {
        let action = "iam:GetRole";
        let xml = self.iam(action, partition, account, iam::form("GetRole", ("RoleName", name), ""))?;
        let unreadable = |detail: String| LookError::Answer { action, account: account.to_owned(), detail };
        let role = iam::role(&xml).map_err(|error| unreadable(error.to_string()))?;
        let trust: Value = serde_json::from_str(&role.trust).map_err(|error| unreadable(format!("trust policy: {error}")))?;
        let tags = self.iam_tags(("iam:ListRoleTags", "ListRoleTags", "RoleName"), partition, account, name);
        let tags = self.tags_or_known(tags, known)?;
        Ok(Entry {
            kind: EntryKind::Role,
            arn: role.arn,
            name: role.name,
            seen_at: self.clock.now(),
            tags,
            pins: pins(&trust),
            description: role.description,
            ..Entry::default()
        })
    }

    fn user(&mut self, partition: &str, account: &str, name: &str) -> Result<Entry, LookError> {
        let tags = self.iam_tags(("iam:ListUserTags", "ListUserTags", "UserName"), partition, account, name)?;
        let arn = format!("arn:{partition}:iam::{account}:user/{name}");
        Ok(Entry { kind: EntryKind::User, arn, name: name.to_owned(), seen_at: self.clock.now(), tags, ..Entry::default() })
    }

    fn iam_tags(
        &mut self,
        (action, call, parameter): (&'static str, &str, &str),
        partition: &str,
        account: &str,
        name: &str,
    ) -> Result<Vec<(String, String)>, LookError> {
        let (mut tags, mut marker) = (Vec::new(), String::new());
        loop {
            let xml = self.iam(action, partition, account, iam::form(call, (parameter, name), &marker))?;
            let page = iam::tags(&xml, &format!("{call}Result"));
            let page = page.map_err(|error| LookError::Answer { action, account: account.to_owned(), detail: error.to_string() })?;
            tags.extend(page.tags);
            if page.marker.is_empty() || page.marker == marker {
                return Ok(answers::sorted(tags));
            }
            marker = page.marker;
        }
    }

    /// Tags of a thing; those last known where they may not be read.
    pub(super) fn tags_or_known(
        &mut self,
        tags: Result<Vec<(String, String)>, LookError>,
        known: Option<&Entry>,
    ) -> Result<Vec<(String, String)>, LookError> {
        match tags {
            Ok(tags) => Ok(tags),
            Err(error) => {
                let Some((action, account)) = error.denied() else { return Err(error) };
                self.denied.insert((action, account.to_owned()));
                Ok(known.map(|entry| entry.tags.clone()).unwrap_or_default())
            }
        }
    }

    /// Tags that a service gives under its `/tags/` path.
    pub(super) fn tags_of(
        &mut self,
        action: &'static str,
        (account, host, service): (&str, &'static str, &'static str),
        region: &str,
        arn: &str,
    ) -> Result<Vec<(String, String)>, LookError> {
        let path = format!("/tags/{}", escape(arn));
        let question = Question { host, service, region: region.to_owned(), global: false, path, body: Body::None };
        self.json(Ask { action, account, question }).map(|answer| tag_map(&answer["tags"]))
    }

    fn iam(&mut self, action: &'static str, partition: &str, account: &str, form: String) -> Result<String, LookError> {
        let region = match partition {
            "aws-cn" => "cn-north-1",
            "aws-us-gov" => "us-gov-west-1",
            _ => "us-east-1",
        };
        let question =
            Question { host: "iam", service: "iam", region: region.to_owned(), global: true, path: "/".to_owned(), body: Body::Form(form) };
        let body = self.ask(&Ask { action, account, question })?;
        String::from_utf8(body).map_err(|error| LookError::Answer { action, account: account.to_owned(), detail: error.to_string() })
    }

    /// Asks and reads the answer as JSON.
    pub(super) fn json(&mut self, ask: Ask<'_>) -> Result<Value, LookError> {
        let body = self.ask(&ask)?;
        let unreadable = |error: serde_json::Error| LookError::Answer {
            action: ask.action,
            account: ask.account.to_owned(),
            detail: format!("the answer is no JSON: {error}"),
        };
        serde_json::from_slice(&body).map_err(unreadable)
    }

    pub(super) fn now(&self) -> sluice_schemas::Micros {
        self.clock.now()
    }

    /// Asks as often as it takes, at the set pace.
    fn ask(&mut self, ask: &Ask<'_>) -> Result<Vec<u8>, LookError> {
        let failed = |source: AskError| LookError::Ask { action: ask.action, account: ask.account.to_owned(), source };
        self.reach(ask)?;
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            self.pace()?;
            let now = self.clock.now();
            let Some(client) = self.clients.get_mut(ask.account) else { break };
            match client.ask(&ask.question, now) {
                Ok(body) => return Ok(body),
                Err(error) if error.class() != ErrorClass::Transient || attempt >= ATTEMPTS => return Err(failed(error)),
                Err(error) => tracing::debug!(action = ask.action, attempt, %error, "asked again"),
            }
            self.rest(pause)?;
            pause *= 2;
        }
        Err(LookError::OtherAccount { account: ask.account.to_owned() })
    }

    /// Makes the client of an account, unless it is there.
    fn reach(&mut self, ask: &Ask<'_>) -> Result<(), LookError> {
        if self.clients.contains_key(ask.account) {
            return Ok(());
        }
        let failed = |action: &'static str| move |source: AskError| LookError::Ask { action, account: ask.account.to_owned(), source };
        let client = match self.settings.roles.get(ask.account) {
            Some(role) => SignedClient::new(&self.config, Some(role)).map_err(failed("sts:AssumeRole"))?,
            None => {
                let mut client = SignedClient::new(&self.config, None).map_err(failed(ask.action))?;
                if self.own(&mut client)? != ask.account {
                    return Err(LookError::OtherAccount { account: ask.account.to_owned() });
                }
                client
            }
        };
        self.clients.insert(ask.account.to_owned(), client);
        Ok(())
    }

    /// The account of the credentials.
    fn own(&mut self, client: &mut SignedClient) -> Result<String, LookError> {
        if let Some(own) = &self.own {
            return Ok(own.clone());
        }
        let action = "sts:GetCallerIdentity";
        let region = self.config.region().map_or("us-east-1", |region| region.as_ref()).to_owned();
        let body = Body::Form("Action=GetCallerIdentity&Version=2011-06-15".to_owned());
        let question = Question { host: "sts", service: "sts", region, global: false, path: "/".to_owned(), body };
        let unknown = || "of these credentials".to_owned();
        let body = client.ask(&question, self.clock.now()).map_err(|source| LookError::Ask { action, account: unknown(), source })?;
        let read = iam::account(&String::from_utf8_lossy(&body));
        let own = read.map_err(|error| LookError::Answer { action, account: unknown(), detail: error.to_string() })?;
        self.own = Some(own.clone());
        Ok(own)
    }

    /// Waits until the next question may be asked.
    fn pace(&mut self) -> Result<(), LookError> {
        let now = Instant::now();
        let at = self.next_at.unwrap_or(now).max(now);
        self.next_at = Some(at + Duration::from_secs(1) / self.settings.per_second.max(1));
        self.rest(at - now)
    }

    fn rest(&self, mut time: Duration) -> Result<(), LookError> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(LookError::Stopped);
            }
            if time.is_zero() {
                return Ok(());
            }
            let nap = time.min(NAP);
            thread::sleep(nap);
            time -= nap;
        }
    }
}

fn bedrock(region: &str, path: String, body: Body) -> Question {
    Question { host: "bedrock", service: "bedrock", region: region.to_owned(), global: false, path, body }
}
