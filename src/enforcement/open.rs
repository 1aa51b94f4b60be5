//! Puts the reconciler together, and refuses to act where it could hurt: the start-up check.

use std::sync::Arc;

use anyhow::Context;
use sluice_enforce::SharedStore;
use sluice_enforce::aws::Aws;
use sluice_enforce::guard::Protected;
use sluice_enforce::lever::boundary::Boundary;
use sluice_enforce::lever::deny_policy::DenyPolicy;
use sluice_enforce::lever::deny_session::DenySession;
use sluice_enforce::lever::detach::Detach;
use sluice_enforce::lever::revoke_sessions::RevokeSessions;
use sluice_enforce::lever::{Lever, LeverKind};
use sluice_enforce::reconcile::Reconciler;
use sluice_ingest::aws::{self as sdk, AwsSettings};
use sluice_schemas::Clock;

use super::EnforceConfig;
use super::aws::{Caller, CallerSettings};

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
pub(crate) fn levers(config: &EnforceConfig) -> Vec<Box<dyn Lever>> {
    let arn = |arn: &Option<String>| arn.clone().unwrap_or_default();
    let lever = |kind: &LeverKind| -> Option<Box<dyn Lever>> {
        Some(match kind {
            LeverKind::DenyPolicy => Box::new(DenyPolicy::new(&arn(&config.deny_policy_arn))),
            LeverKind::Detach => Box::new(Detach::new(config.detach_policy_arns.iter().map(String::as_str))),
            LeverKind::Boundary => Box::new(Boundary::new(&arn(&config.boundary_policy_arn))),
            LeverKind::DenySession => Box::new(DenySession::new()),
            LeverKind::RevokeSessions => Box::new(RevokeSessions::new()),
            LeverKind::Profile | LeverKind::Scp | LeverKind::StopSession | LeverKind::RejectAlias | LeverKind::ApiKey | LeverKind::Flag => {
                return None;
            }
        })
    };
    config.levers.iter().filter_map(lever).collect()
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
pub(crate) fn open(config: &EnforceConfig, store: Arc<dyn SharedStore>, clock: Arc<dyn Clock>, fence: u64) -> anyhow::Result<Opened> {
    let aws = connect(config, Arc::clone(&clock))?;
    let own = super::check::own_principal(&*aws).context("ask AWS as whom this program acts")?;
    let protected = config.protected(vec![own]);
    super::check::not_too_much(&*aws, config, &protected)?;
    let reconciler = Reconciler::new(store, aws, levers(config), clock, fence, config.settings());
    Ok(Opened { reconciler, protected })
}
