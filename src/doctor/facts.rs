//! What the lake tells of the last days: where calls came from, who made them, what is unpriced, what budgets matched.

use serde_json::Value;
use sluice_aggregate::coverage::read;
use sluice_aggregate::coverage::unlogged::{Unlogged, unlogged};
use sluice_aggregate::lake::Lake;
use sluice_aggregate::query::QueryEngine;
use sluice_schemas::Micros;
use sluice_schemas::time::DAY;

use crate::config::Config;
use crate::lakeview;

/// Days that are looked at.
pub(crate) const DAYS: i64 = 7;
/// Rows of a list that are kept.
const MOST: usize = 50;

/// A role and who called through it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoleUse {
    /// ARN as logs give it, without its path.
    pub(crate) arn: String,
    /// Calls.
    pub(crate) calls: u64,
    /// Agents, most calls first.
    pub(crate) agents: Vec<String>,
    /// Calls that only the caller's own word or a guess attributes.
    pub(crate) weak: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Why the lake could not be asked.
    pub(crate) problem: Option<String>,
    /// Whether it has calls of these days.
    pub(crate) calls: u64,
    /// The last call.
    pub(crate) last: Option<String>,
    /// Accounts and regions with calls.
    pub(crate) places: Vec<(String, String)>,
    /// Models without a price, with calls.
    pub(crate) unpriced: Vec<(String, u64)>,
    /// Roles.
    pub(crate) roles: Vec<RoleUse>,
    /// Evidence that named agents.
    pub(crate) evidence: Vec<String>,
    /// Claims that were refused.
    pub(crate) spoofed: u64,
    /// Calls that nobody is named for.
    pub(crate) unattributed: u64,
    /// Budgets with a predicate, and how many calls it took; none if it cannot be asked that way.
    pub(crate) budgets: Vec<(String, Option<u64>)>,
    /// Agents whose calls no budget counts.
    pub(crate) unbudgeted: Vec<String>,
    /// Whether CloudTrail events came.
    pub(crate) events: bool,
    /// Traffic that no log holds.
    pub(crate) unlogged: Vec<Unlogged>,
}

impl Facts {
    /// Asks the lake; a lake that cannot be asked is a fact too.
    pub(crate) fn of_lake(config: &Config, now: Micros) -> Self {
        Self::read(config, now).unwrap_or_else(|error| Self { problem: Some(format!("{error:#}")), ..Self::default() })
    }

    fn read(config: &Config, now: Micros) -> anyhow::Result<Self> {
        let lake = Lake::open_reader(&config.lake)?;
        let engine = lakeview::engine(&lake, Vec::new())?;
        let since = now.plus(-DAYS * DAY);
        let span = format!("FROM calls WHERE event_time >= arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", since.0);
        let mut facts = Self::default();
        let totals = rows(
            &engine,
            &format!(
                "SELECT count(*) AS calls, arrow_cast(max(event_time), 'Utf8') AS last, \
             sum(CASE WHEN agent_status = 'spoofed' THEN 1 ELSE 0 END) AS spoofed, \
             sum(CASE WHEN agent_id = 'unattributed' OR agent_id IS NULL THEN 1 ELSE 0 END) AS nobody {span}"
            ),
        )?;
        if let Some(row) = totals.first() {
            (facts.calls, facts.spoofed, facts.unattributed) = (number(row, "calls"), number(row, "spoofed"), number(row, "nobody"));
            facts.last = Some(text(row, "last")).filter(|last| !last.is_empty());
        }
        let found = rows(&engine, &format!("SELECT DISTINCT account_id, region {span}"))?;
        facts.places = found.iter().map(|row| (text(row, "account_id"), text(row, "region"))).collect();
        let sql = format!(
            "SELECT model, count(*) AS calls {span} AND NOT priced AND error_code IS NULL GROUP BY model ORDER BY 2 DESC LIMIT {MOST}"
        );
        facts.unpriced = rows(&engine, &sql)?.iter().map(|row| (text(row, "model"), number(row, "calls"))).collect();
        let found = rows(&engine, &format!("SELECT DISTINCT agent_evidence {span}"))?;
        facts.evidence = found.iter().map(|row| text(row, "agent_evidence")).filter(|evidence| !evidence.is_empty()).collect();
        facts.roles = roles(&engine, &span)?;
        facts.read_budgets(config, &engine, &span)?;
        let (trail, peculiar) = (read::trail_operations(&engine, since, now)?, read::peculiar(&engine, since, now)?);
        facts.events = trail.as_ref().is_some_and(|seen| !seen.is_empty());
        facts.unlogged = unlogged(trail.as_deref(), None, peculiar.provisioned).into_iter().filter(Unlogged::is_seen).collect();
        Ok(facts)
    }

    /// Asks what budgets took and left. A predicate is SQL over columns of `calls` but for `tags.KEY`.
    fn read_budgets(&mut self, config: &Config, engine: &QueryEngine, span: &str) -> anyhow::Result<()> {
        let mut taken = Vec::new();
        let mut is_all_known = true;
        for budget in config.budgets.iter() {
            let Some(filter) = &budget.filter else {
                taken.push("true".to_owned());
                continue;
            };
            let count = rows(engine, &format!("SELECT count(*) AS calls {span} AND ({})", filter.text())).ok();
            let count = count.and_then(|rows| rows.first().map(|row| number(row, "calls")));
            is_all_known &= count.is_some();
            if count.is_some() {
                taken.push(format!("coalesce({}, false)", filter.text()));
            }
            self.budgets.push((budget.name.clone(), count));
        }
        if is_all_known && !taken.iter().any(|taken| taken == "true") {
            let rest = taken.iter().map(|taken| format!(" AND NOT {taken}")).collect::<String>();
            let sql = format!("SELECT agent_id, count(*) AS calls {span}{rest} GROUP BY agent_id ORDER BY 2 DESC LIMIT {MOST}");
            self.unbudgeted = rows(engine, &sql)?.iter().map(|row| text(row, "agent_id")).collect();
        }
        Ok(())
    }
}

fn roles(engine: &QueryEngine, span: &str) -> anyhow::Result<Vec<RoleUse>> {
    let sql = format!(
        "SELECT role, account_id, max(principal_arn) AS principal, agent_id, count(*) AS calls, sum(CASE WHEN agent_rank <= 1 THEN 1 ELSE 0 END) AS weak {span} \
         AND role IS NOT NULL AND role <> '' GROUP BY role, account_id, agent_id ORDER BY calls DESC LIMIT 2000"
    );
    let mut found: Vec<RoleUse> = Vec::new();
    for row in rows(engine, &sql)? {
        let (principal, agent) = (text(&row, "principal"), text(&row, "agent_id"));
        // Logs give the name of a role without its path.
        let partition = principal.split(':').nth(1).unwrap_or("aws");
        let arn = format!("arn:{partition}:iam::{}:role/{}", text(&row, "account_id"), text(&row, "role"));
        let place = found.iter().position(|known| known.arn == arn).unwrap_or_else(|| {
            found.push(RoleUse { arn, ..RoleUse::default() });
            found.len() - 1
        });
        let known = &mut found[place];
        known.calls += number(&row, "calls");
        known.weak += number(&row, "weak");
        if !agent.is_empty() {
            known.agents.push(agent);
        }
    }
    found.truncate(MOST);
    Ok(found)
}

fn rows(engine: &QueryEngine, sql: &str) -> anyhow::Result<Vec<Value>> {
    Ok(serde_json::from_str(lakeview::format(&engine.sql(sql)?, "json").trim())?)
}

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().or_else(|| row[name].as_str().and_then(|text| text.parse().ok())).unwrap_or_default()
}
