//! Puts the reconciler together, and refuses to act where it could hurt: the start-up check.

use std::sync::Arc;

use anyhow::Context;
use sluice_enforce::SharedStore;
use sluice_enforce::aws::{Aws, Body, Call, Method};
use sluice_enforce::guard::{Protected, ScopePolicy};
use sluice_enforce::iam::wire::form;
use sluice_enforce::iam::xml::Node;
use sluice_enforce::lever::api_key::ApiKey;
use sluice_enforce::lever::boundary::Boundary;
use sluice_enforce::lever::deny_policy::DenyPolicy;
use sluice_enforce::lever::deny_session::DenySession;
use sluice_enforce::lever::detach::Detach;
use sluice_enforce::lever::flag::Flag;
use sluice_enforce::lever::profile::Profile;
use sluice_enforce::lever::reject_alias::RejectAlias;
use sluice_enforce::lever::revoke_sessions::RevokeSessions;
use sluice_enforce::lever::scp::Scp;
use sluice_enforce::lever::stop_session::StopSession;
use sluice_enforce::lever::{Lever, LeverKind};
use sluice_enforce::reconcile::breaker::BreakerLimits;
use sluice_enforce::reconcile::step::{OnManualDetach, Pacing};
use sluice_enforce::reconcile::{Reconciler, Settings};
use sluice_ingest::aws::{self as sdk, AwsSettings};
use sluice_schemas::{Clock, SystemClock};

use super::EnforceConfig;
use super::aws::{Caller, CallerSettings};
use super::config::micros;
use crate::config::{Config, FlagsTable};

impl EnforceConfig {
    /// Returns how subjects are chosen.
    pub(crate) fn scope_policy(&self) -> ScopePolicy {
        ScopePolicy { levers: self.levers.clone(), most_innocent: self.most_innocent, most_principals: self.most_principals }
    }

    /// Returns who is never stopped; `own` is what this program acts as.
    pub(crate) fn protected(&self, own: Vec<String>) -> Protected {
        Protected { own, patterns: self.protected.clone() }
    }

    /// Returns how the reconciler behaves.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            on_manual_detach: if self.repairs { OnManualDetach::Repair } else { OnManualDetach::Respect },
            pacing: Pacing { resync: micros(self.resync), spread: micros(self.spread), ..Pacing::default() },
            writes_per_second: self.writes_per_second,
            reads_per_second: self.reads_per_second,
            breaker: BreakerLimits { failures: self.breaker_failures, taken_off: self.breaker_taken_off },
        }
    }
}

/// Returns what makes calls with the credentials of the section.
///
/// # Errors
/// There are no credentials or no region.
pub(crate) fn connect(config: &EnforceConfig, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Aws>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    let [region, endpoint, profile] = config.aws.clone();
    let loaded = runtime.block_on(sdk::load(&AwsSettings { region, endpoint, profile })).context("[enforce]: AWS")?;
    let settings = CallerSettings { role: config.role_arn.clone(), external_id: config.external_id.clone(), timeout: None };
    Ok(Arc::new(Caller::new(loaded, settings, clock)))
}

/// Returns the configured levers.
fn levers(config: &EnforceConfig, flags: Option<&FlagsTable>, account: &str) -> Vec<Box<dyn Lever>> {
    let region = config.aws[0].clone().unwrap_or_else(|| "us-east-1".to_owned());
    let arn = |arn: &Option<String>| arn.clone().unwrap_or_default();
    let lever = |kind: &LeverKind| -> Option<Box<dyn Lever>> {
        Some(match kind {
            LeverKind::DenyPolicy => Box::new(DenyPolicy::new(&arn(&config.deny_policy_arn))),
            LeverKind::Detach => Box::new(Detach::new(config.detach_policy_arns.iter().map(String::as_str))),
            LeverKind::Boundary => Box::new(Boundary::new(&arn(&config.boundary_policy_arn))),
            LeverKind::DenySession => Box::new(DenySession::new()),
            LeverKind::RevokeSessions => Box::new(RevokeSessions::new()),
            LeverKind::Profile => Box::new(Profile),
            LeverKind::Scp => Box::new(Scp::new(&arn(&config.service_control_policy_id), account, &region)),
            LeverKind::StopSession => Box::new(StopSession),
            LeverKind::RejectAlias => Box::new(RejectAlias),
            LeverKind::ApiKey => Box::new(ApiKey::new(&region)),
            LeverKind::Flag => Box::new(flag(flags, account)?),
        })
    };
    config.levers.iter().filter_map(lever).collect()
}

fn flag(flags: Option<&FlagsTable>, account: &str) -> Option<Flag> {
    let FlagsTable::Table(settings) = flags?;
    Some(Flag::new(&settings.table, settings.region.as_deref().unwrap_or("us-east-1"), account))
}

/// What acts, and whom it never acts on.
pub(crate) struct Opened {
    /// The reconciler.
    pub(crate) reconciler: Reconciler,
    /// Who is never stopped.
    pub(crate) protected: Protected,
}

/// Returns the reconciler of a configuration with levers.
///
/// # Errors
/// AWS cannot be called, or what this program may do reaches itself or someone who is protected.
pub(crate) fn open(config: &Config, store: Arc<dyn SharedStore>, clock: Arc<dyn Clock>, fence: u64) -> anyhow::Result<Opened> {
    let flags = config.flags.as_ref();
    let config = &config.enforce;
    let aws = connect(config, Arc::clone(&clock))?;
    let own = super::check::own_principal(&*aws).context("ask AWS as whom this program acts")?;
    let account = own.split(':').nth(4).unwrap_or_default().to_owned();
    let protected = config.protected(vec![own]);
    super::check::not_too_much(&*aws, config, &protected)?;
    let reconciler = Reconciler::new(store, aws, levers(config, flags, &account), clock, fence, config.settings());
    Ok(Opened { reconciler, protected })
}

/// Judges the permissions of the credentials and returns whose they are.
///
/// # Errors
/// They reach too far, or cannot be read.
pub(crate) fn check(config: &EnforceConfig) -> anyhow::Result<String> {
    let aws = connect(config, Arc::new(SystemClock))?;
    let own = super::check::own_principal(&*aws)?;
    super::check::not_too_much(&*aws, config, &config.protected(vec![own.clone()]))?;
    Ok(own)
}

/// Returns the ARN of whoever runs this command.
///
/// # Errors
/// AWS cannot be asked.
pub(crate) fn caller(config: &EnforceConfig) -> anyhow::Result<String> {
    super::check::caller_arn(&*connect(config, Arc::new(SystemClock))?)
}

/// Returns names of the roles and users that the deny policy is attached to, in the account of the credentials.
///
/// # Errors
/// AWS cannot be asked.
pub(crate) fn attached(config: &EnforceConfig) -> anyhow::Result<Vec<String>> {
    let Some(policy) = &config.deny_policy_arn else { return Ok(Vec::new()) };
    let aws = connect(config, Arc::new(SystemClock))?;
    let own = super::check::own_principal(&*aws)?;
    let policy = policy.replace("{account}", own.split(':').nth(4).unwrap_or_default());
    let mut found = Vec::new();
    let mut marker = String::new();
    loop {
        let mut fields = vec![("PolicyArn", policy.as_str())];
        if !marker.is_empty() {
            fields.push(("Marker", &marker));
        }
        let reply = aws.call(&Call {
            account: String::new(),
            host: "iam",
            service: "iam",
            region: "us-east-1".to_owned(),
            global: true,
            method: Method::Post,
            path: "/".to_owned(),
            headers: Vec::new(),
            body: Body::Form(form("ListEntitiesForPolicy", "2010-05-08", &fields)),
            action: "iam:ListEntitiesForPolicy",
            writes: false,
        })?;
        let text = String::from_utf8(reply.body).context("an answer that is no text")?;
        let answer = Node::parse(&text).map_err(|problem| anyhow::anyhow!("an answer that is no XML: {problem}"))?;
        let Some(result) = answer.child("ListEntitiesForPolicyResult") else { break };
        for (list, kind, name) in
            [("PolicyRoles", "role", "RoleName"), ("PolicyUsers", "user", "UserName"), ("PolicyGroups", "group", "GroupName")]
        {
            let members = result.child(list).map(|list| list.children.as_slice()).unwrap_or_default();
            found.extend(members.iter().map(|member| format!("{kind} {}", member.text_at(&[name]))));
        }
        marker = result.text_at(&["Marker"]).to_owned();
        if result.text_at(&["IsTruncated"]) != "true" || marker.is_empty() {
            break;
        }
    }
    Ok(found)
}
