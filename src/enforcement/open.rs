//! Puts the reconciler together, and refuses to act where it could hurt: the start-up check.

use std::sync::Arc;

use anyhow::Context;
use sluice_enforce::SharedStore;
use sluice_enforce::aws::Aws;
use sluice_enforce::guard::{Protected, Scope, ScopePolicy};
use sluice_enforce::iam::{Iam, Principal};
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
use sluice_enforce::lever::{Lever, LeverKind, Order, rehearse};
use sluice_enforce::reconcile::breaker::BreakerLimits;
use sluice_enforce::reconcile::step::{OnManualDetach, Pacing};
use sluice_enforce::reconcile::want::Pull;
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
    connect_as(config, None, clock)
}

/// Returns what makes calls as the one who pulls levers.
fn connect_to_act(config: &EnforceConfig, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Aws>> {
    connect_as(config, config.own_role_arn.clone(), clock)
}

fn connect_as(config: &EnforceConfig, own_role: Option<String>, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Aws>> {
    Ok(Arc::new(caller_as(config, own_role, clock)?))
}

/// Returns what makes calls with the credentials of the section, or of a role of their account.
pub(super) fn caller_as(config: &EnforceConfig, own_role: Option<String>, clock: Arc<dyn Clock>) -> anyhow::Result<Caller> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    let [region, endpoint, profile] = config.aws.clone();
    let loaded = runtime.block_on(sdk::load(&AwsSettings { region, endpoint, profile })).context("[enforce]: AWS")?;
    let (role, external_id) = (config.role_arn.clone(), config.external_id.clone());
    let settings = CallerSettings { own_role, role, external_id, timeout: None };
    Ok(Caller::new(loaded, settings, clock))
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
    let aws = connect_to_act(config, Arc::clone(&clock))?;
    let own = owns(config, &*aws).context("ask AWS as whom this program acts")?;
    let account = account(&own).to_owned();
    let protected = config.protected(own);
    super::check::not_too_much(&*aws, config, &protected)?;
    let reconciler = Reconciler::new(store, aws, levers(config, flags, &account), clock, fence, config.settings());
    Ok(Opened { reconciler, protected })
}

/// Returns as whom this program acts, and behind that, where that is a role it takes on, whom its credentials are of.
fn owns(config: &EnforceConfig, aws: &dyn Aws) -> anyhow::Result<Vec<String>> {
    let mut owns = vec![super::check::own_principal(aws)?];
    if config.own_role_arn.is_some() {
        owns.push(super::check::own_principal(&*connect(config, Arc::new(SystemClock))?)?);
    }
    Ok(owns)
}

fn account(owns: &[String]) -> &str {
    owns.first().and_then(|own| own.split(':').nth(4)).unwrap_or_default()
}

/// What a pull would come to now.
pub(crate) struct Rehearsed {
    /// The lever and on whom.
    pub(crate) pull: Pull,
    /// Names of the calls that would change something, none where the stop stands; or why the lever cannot act.
    pub(crate) calls: Result<Vec<&'static str>, String>,
}

/// Returns what pulling a scope's levers would call now; nothing is changed.
///
/// # Errors
/// AWS cannot be asked.
pub(crate) fn rehearsed(config: &Config, scope: &Scope) -> anyhow::Result<Vec<Rehearsed>> {
    let enforce = &config.enforce;
    let aws = connect_to_act(enforce, Arc::new(SystemClock))?;
    let own = super::check::own_principal(&*aws)?;
    let levers = levers(enforce, config.flags.as_ref(), account(&[own]));
    let now = SystemClock.now();
    let one = |pull: &Pull| {
        let order = Order { subject: &pull.subject, holds: &[], reason: "a rehearsal", since: now, until: None, now };
        let calls = match levers.iter().find(|lever| lever.kind() == pull.lever) {
            Some(lever) => rehearse(&**lever, &*aws, &order).map_err(|error| error.to_string()),
            None => Err("it is not among the configured levers".to_owned()),
        };
        Rehearsed { pull: pull.clone(), calls: calls.map(|calls| calls.iter().map(|call| call.action).collect()) }
    };
    Ok(scope.grips.iter().flat_map(|grip| &grip.chain).map(one).collect())
}

/// Judges the permissions of the credentials and returns whose they are.
///
/// # Errors
/// They reach too far, or cannot be read.
pub(crate) fn check(config: &EnforceConfig) -> anyhow::Result<String> {
    let aws = connect_to_act(config, Arc::new(SystemClock))?;
    let owns = owns(config, &*aws)?;
    let own = owns[0].clone();
    super::check::not_too_much(&*aws, config, &config.protected(owns))?;
    Ok(own)
}

/// Returns names of the roles and users that the deny policy is attached to, in the account of the credentials.
///
/// # Errors
/// AWS cannot be asked.
pub(crate) fn attached(config: &EnforceConfig) -> anyhow::Result<Vec<String>> {
    let Some(policy) = &config.deny_policy_arn else { return Ok(Vec::new()) };
    let aws = connect_to_act(config, Arc::new(SystemClock))?;
    let own = super::check::own_principal(&*aws)?;
    let policy = policy.replace("{account}", own.split(':').nth(4).unwrap_or_default());
    let named = Principal::parse(&own).with_context(|| format!("'{own}' is no role or user"))?;
    Ok(Iam::new(&*aws, &named).holders(&policy)?)
}
