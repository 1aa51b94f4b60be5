//! `sluice doctor`: walks the whole chain, from the logging configuration to the lever, and says what to fix with commands to paste.
//!
//! Owns: which checks there are, who is asked, how long each group may take, how the report looks. Does not own: enforcement's and
//! coverage's own judgements, which it only repeats. It changes nothing: every call reads, and the two that look whether writing is
//! allowed carry a condition that cannot hold.

mod ask;
mod checks;
mod facts;
mod finding;
mod reach;
mod render;
mod subject;
#[cfg(test)]
#[cfg(feature = "aws")]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use sluice_enforce::aws::{Aws, Call, CallError, Reply};
use sluice_schemas::{Clock, Micros, SystemClock};

use crate::config::Config;
use facts::Facts;
use finding::{Finding, Report};
use reach::Reach;
use subject::{Subject, Way};

pub(crate) use render::{json, table};

/// Groups of checks in the order of the chain: name, first words, whether AWS is asked.
pub(crate) const GROUPS: [(&str, &str, bool); 12] = [
    ("account", "credentials, clock, region", true),
    ("logging", "Bedrock invocation logging and its log group", true),
    ("stream", "streams, queues and buckets that are read", true),
    ("trail", "CloudTrail and its events", true),
    ("permissions", "what sluice needs to do its work", true),
    ("daemon", "the running daemon", false),
    ("unlogged", "use of Bedrock that no log holds", true),
    ("attribution", "who called", true),
    ("budgets", "limits, and whom they count", false),
    ("enforcement", "levers, and who is told", true),
    ("billing", "what the bill is compared with", true),
    ("athena", "tables for Athena", true),
];

/// Time for a group of checks.
const PATIENCE: Duration = Duration::from_secs(45);
/// Most regions that are looked at.
const MOST_REGIONS: usize = 40;

/// What is asked of the doctor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    /// Regions beside those of the configuration and the lake.
    pub(crate) regions: Vec<String>,
    /// Groups to check; all when empty.
    pub(crate) only: Vec<String>,
    /// Role whose permissions are judged instead of those of the credentials.
    pub(crate) role: Option<String>,
    /// Glue database.
    pub(crate) database: String,
    /// How the configuration is called on the command line.
    pub(crate) config_at: String,
}

/// Who the credentials are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// ARN, of a session where it is one.
    pub(crate) arn: String,
    /// Account.
    pub(crate) account: String,
}

impl Identity {
    /// Returns the partition: `aws`, `aws-cn`, `aws-us-gov`.
    pub(crate) fn partition(&self) -> &str {
        self.arn.split(':').nth(1).unwrap_or("aws")
    }
}

/// What every check is given.
#[derive(Clone)]
pub(crate) struct Context {
    /// The whole configuration.
    pub(crate) config: Arc<Config>,
    /// What of it is in AWS.
    pub(crate) subject: Arc<Subject>,
    /// What the lake tells.
    pub(crate) facts: Arc<Facts>,
    /// Who asks; none without credentials.
    pub(crate) me: Option<Identity>,
    /// Region of the credentials.
    pub(crate) home: String,
    /// Regions to look at.
    pub(crate) regions: Vec<String>,
    /// The order.
    pub(crate) order: Arc<Order>,
    /// The time.
    pub(crate) now: Micros,
    reach: Option<Arc<dyn Reach>>,
}

impl Context {
    /// Returns a caller for a way.
    ///
    /// # Errors
    /// A sentence for people.
    pub(crate) fn aws(&self, way: &Way) -> Result<Box<dyn Aws>, String> {
        let reach = self.reach.as_ref().ok_or("AWS is not asked")?;
        Ok(Box::new(OnlyReads(reach.aws(way)?)))
    }

    /// Returns a caller for what no way is configured for.
    ///
    /// # Errors
    /// A sentence for people.
    pub(crate) fn base(&self) -> Result<Box<dyn Aws>, String> {
        self.aws(&self.subject.way)
    }

    /// Returns who asks; checks of AWS run with credentials alone.
    pub(crate) fn me(&self) -> Identity {
        self.me.clone().unwrap_or_default()
    }

    /// Returns how commands of sluice name the configuration.
    pub(crate) fn flag(&self) -> String {
        if self.order.config_at.is_empty() { String::new() } else { format!(" --config {}", ask::quoted(&self.order.config_at)) }
    }
}

/// Lets no call through that changes something.
struct OnlyReads(Arc<dyn Aws>);

impl Aws for OnlyReads {
    fn call(&self, call: &Call) -> Result<Reply, CallError> {
        if call.writes {
            return Err(CallError::Withheld { action: call.action, reason: "the doctor changes nothing".to_owned() });
        }
        self.0.call(call)
    }
}

/// Makes all checks.
///
/// # Errors
/// A group that is none was asked for.
pub(crate) fn examine(config: Config, order: Order) -> anyhow::Result<Report> {
    let subject = Subject::of(&config, &order.config_at);
    let facts = within(PATIENCE, "lake", {
        let config = config.clone();
        move || Facts::of_lake(&config, SystemClock.now())
    });
    let facts =
        facts.unwrap_or_else(|| Facts { problem: Some(format!("the lake did not answer within {PATIENCE:?}")), ..Facts::default() });
    let mut way = subject.way.clone();
    way.region = way.region.or_else(|| order.regions.first().cloned());
    let reach = if subject.uses_aws || !order.regions.is_empty() { Some(reach::connect(&way)) } else { None };
    examine_with(config, subject, facts, order, reach)
}

/// Makes all checks with what was found out before; `reach` is none where the configuration has nothing in AWS.
fn examine_with(
    config: Config,
    subject: Subject,
    facts: Facts,
    order: Order,
    reach: Option<anyhow::Result<Box<dyn Reach>>>,
) -> anyhow::Result<Report> {
    if let Some(wrong) = order.only.iter().find(|name| GROUPS.iter().all(|(group, ..)| group != name)) {
        bail!("there is no group '{wrong}': use {}", GROUPS.map(|(group, ..)| group).join(", "));
    }
    let mut findings = Vec::new();
    let reach: Option<Arc<dyn Reach>> = match reach {
        None => None,
        Some(Ok(reach)) => Some(Arc::from(reach)),
        Some(Err(error)) => {
            findings.push(checks::account::unreachable(&format!("{error:#}")));
            None
        }
    };
    let home = reach.as_ref().map(|reach| reach.region()).unwrap_or_default();
    let mut context = Context {
        regions: regions(&subject, &facts, &order, &home),
        config: Arc::new(config),
        subject: Arc::new(subject),
        facts: Arc::new(facts),
        me: None,
        home,
        order: Arc::new(order),
        now: SystemClock.now(),
        reach,
    };
    if let Some(reach) = context.reach.clone() {
        let (me, found) = checks::account::check(&context, &*reach);
        context.me = me;
        findings.extend(found);
    }
    let wanted = |name: &str| context.order.only.is_empty() || context.order.only.iter().any(|only| only == name);
    findings.retain(|finding| wanted("account") || finding.level == finding::Level::Fail);
    let groups = GROUPS.iter().filter(|(name, ..)| *name != "account" && wanted(name));
    findings.extend(side_by_side(&context, groups.map(|(name, _, asks)| (*name, *asks)).collect()));
    let arn = context.me().arn;
    Ok(Report::new(context.now.to_string(), arn, context.regions.clone(), &GROUPS.map(|(group, ..)| group), findings))
}

/// Runs groups at the same time and waits for each no longer than it may take.
fn side_by_side(context: &Context, groups: Vec<(&'static str, bool)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (done, results) = crossbeam_channel::bounded(64);
    let mut open: Vec<&'static str> = Vec::new();
    for (name, asks) in groups {
        if asks && context.me.is_none() {
            let why = if context.reach.is_some() { "no usable credentials" } else { "nothing of this configuration is in AWS" };
            findings.extend(checks::without_aws(name, context, why));
            continue;
        }
        let (context, done) = (context.clone(), done.clone());
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let found = checks::run(name, &context);
            if done.send((name, found)).is_err() {
                tracing::debug!(group = name, "answered after its time");
            }
        });
        match spawned {
            Ok(_) => open.push(name),
            Err(error) => findings.push(Finding::skipped(checks::whole(name), "", format!("the system gives no thread: {error}"))),
        }
    }
    let until = Instant::now() + PATIENCE;
    while !open.is_empty() {
        match results.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((name, found)) => {
                open.retain(|other| *other != name);
                findings.extend(found);
            }
            Err(_) => break,
        }
    }
    findings.extend(
        open.into_iter().map(|name| Finding::skipped(checks::whole(name), "", format!("no answer within {} s", PATIENCE.as_secs()))),
    );
    findings
}

/// Regions to look at: those of the order, of the configuration, of calls in the lake; else that of the credentials.
fn regions(subject: &Subject, facts: &Facts, order: &Order, home: &str) -> Vec<String> {
    let seen = facts.places.iter().map(|(_, region)| region.clone());
    let mut all: BTreeSet<String> =
        order.regions.iter().chain(&subject.regions).cloned().chain(seen).filter(|region| !region.is_empty()).collect();
    if all.is_empty() && !home.is_empty() {
        all.insert(home.to_owned());
    }
    all.into_iter().take(MOST_REGIONS).collect()
}

/// Waits for an answer no longer than it may take.
fn within<T: Send + 'static>(time: Duration, name: &str, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = crossbeam_channel::bounded(64);
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        if done.send(work()).is_err() {
            tracing::debug!("answered after its time");
        }
    });
    spawned.ok()?;
    result.recv_timeout(time).ok()
}
