//! The start-up check: as whom this program acts, and that it can touch neither itself nor those who are never stopped.

use anyhow::{Context, bail};
use sluice_enforce::aws::Aws;
use sluice_enforce::guard::usage::principal;
use sluice_enforce::guard::{Protected, reach::overreach};
use sluice_enforce::iam::evaluate::Layers;
use sluice_enforce::iam::{Iam, Principal, caller_arn};

use super::EnforceConfig;

/// Returns the ARN of the role or user the program acts as.
///
/// # Errors
/// AWS cannot be asked, or answers with something that is neither.
pub(super) fn own_principal(aws: &dyn Aws) -> anyhow::Result<String> {
    let arn = caller_arn(aws)?;
    principal(&arn).with_context(|| format!("'{arn}' is neither a role nor a user: act as a role"))
}

/// Refuses permissions that reach too far.
///
/// # Errors
/// They do, or they cannot be read.
pub(super) fn not_too_much(aws: &dyn Aws, config: &EnforceConfig, protected: &Protected) -> anyhow::Result<()> {
    let Some(own) = protected.own.first() else { return Ok(()) };
    let named = Principal::parse(own).with_context(|| format!("'{own}' is no role or user"))?;
    let granted = Iam::new(aws, &named).granted(&[]).with_context(|| {
        format!("enforce: {own} may not read its own policies, so nobody can tell what it reaches; allow it iam:GetRole, iam:ListAttachedRolePolicies, iam:ListRolePolicies, iam:GetRolePolicy, iam:GetPolicy and iam:GetPolicyVersion on itself and its policies")
    })?;
    let layers = Layers { identity: granted.identity, boundary: granted.boundary, ..Layers::default() };
    let arns: Vec<String> =
        protected.patterns.iter().filter(|pattern| pattern.starts_with("arn:") && !pattern.ends_with('*')).cloned().collect();
    let account = own.split(':').nth(4).unwrap_or_default();
    let attached = config.deny_policy_arn.iter().chain(&config.boundary_policy_arn).map(|arn| arn.replace("{account}", account));
    let found = overreach(&layers, own, &arns, &attached.collect::<Vec<_>>());
    if found.is_empty() {
        return Ok(());
    }
    bail!("enforce: {own} may do more than its levers need, so nothing is enforced:\n  - {}", found.join("\n  - "))
}
