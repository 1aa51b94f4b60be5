//! The checks, a file for each group: what is asked, and a pure judgement of each answer.

pub(super) mod account;
mod athena;
mod attribution;
mod billing;
mod budgets;
mod daemon;
mod enforcement;
mod logging;
mod permissions;
mod rights;
mod stream;
mod tables;
mod trail;
mod unlogged;

use super::Context;
use super::finding::Finding;

/// Makes the checks of a group.
pub(super) fn run(group: &str, context: &Context) -> Vec<Finding> {
    match group {
        "logging" => logging::check(context),
        "stream" => stream::check(context),
        "trail" => trail::check(context),
        "permissions" => permissions::check(context),
        "daemon" => daemon::check(context),
        "unlogged" => unlogged::check(context),
        "attribution" => attribution::check(context),
        "budgets" => budgets::check(context),
        "enforcement" => enforcement::check(context),
        "billing" => billing::check(context),
        "athena" => athena::check(context),
        _ => Vec::new(),
    }
}

/// Makes the checks of a group that need no AWS, and says that the others were not made.
pub(super) fn without_aws(group: &'static str, context: &Context, why: &str) -> Vec<Finding> {
    let mut found = match group {
        "attribution" => attribution::local(context),
        "unlogged" => unlogged::local(context),
        "enforcement" => enforcement::local(context),
        _ => Vec::new(),
    };
    found.push(Finding::skipped(whole(group), "", format!("AWS is not asked: {why}")));
    found
}

/// Returns the check that stands for a whole group.
pub(super) fn whole(group: &str) -> &'static str {
    match group {
        "account" => "account.all",
        "logging" => "logging.all",
        "stream" => "stream.all",
        "trail" => "trail.all",
        "permissions" => "permissions.all",
        "daemon" => "daemon.all",
        "unlogged" => "unlogged.all",
        "attribution" => "attribution.all",
        "budgets" => "budgets.all",
        "enforcement" => "enforcement.all",
        "billing" => "billing.all",
        _ => "athena.all",
    }
}
