//! The running daemon: ready, close behind, committing, complete; who waits for a person; whether levers are pulled.

use std::time::Duration;

use serde_json::Value;

use crate::control::{self, Client, Request};
use crate::doctor::finding::Finding;
use crate::doctor::{Context, within};
use crate::operate::Status;

/// Lags that are worth a word, and that are too much, in milliseconds.
const LAG: [u64; 2] = [60_000, 600_000];
/// How long rows may wait for the lake, in milliseconds: three times the longest commit interval.
const WAITS: u64 = 90_000;
/// Time for the audit trail: it is read from its first line.
const AUDIT: Duration = Duration::from_secs(20);

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let mut found = match control::connect(&context.config.socket) {
        Err(error) => vec![Finding::skipped("daemon.running", context.config.socket.display().to_string(), format!("{error:#}"))],
        Ok(None) => vec![elsewhere(context)],
        Ok(Some(mut client)) => ask(context, &mut client),
    };
    if found.iter().any(|finding| finding.check != "daemon.running") {
        found.push(audit(context));
    }
    found
}

fn ask(context: &Context, client: &mut Client) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut answer = |request: &Request, found: &mut Vec<Finding>| match client.ask(request) {
        Ok(value) => value,
        Err(error) => {
            found.push(Finding::skipped("daemon.running", "", format!("{error:#}")));
            Value::Null
        }
    };
    let status = answer(&Request::Status, &mut found);
    match serde_json::from_value::<Status>(status) {
        Ok(status) => found.extend(judge_status(&status, &context.flag())),
        Err(error) => {
            let why = "this program and the daemon are not of one version";
            found.push(Finding::warn("daemon.running", "", format!("its status cannot be read: {error}"), why).fix("sluice --version"));
            return found;
        }
    }
    let budgets = answer(&Request::Budgets, &mut found);
    found.extend(judge_budgets(&budgets, &context.flag()));
    let holds = answer(&Request::Holds, &mut found);
    found.extend(judge_holds(&holds, &context.flag()));
    let levers = answer(&Request::Levers, &mut found);
    found.extend(judge_levers(&levers, &context.flag()));
    found
}

/// No daemon on this machine; a shared table tells whether there is one elsewhere.
fn elsewhere(context: &Context) -> Finding {
    let check = "daemon.running";
    let fix = format!("sluice run{}", context.flag());
    let why = "nothing is counted, told or stopped while none runs";
    if context.subject.table.is_none() {
        return Finding::warn(check, "", format!("no daemon answers on {}", context.config.socket.display()), why).fix(fix);
    }
    let shared = context.config.shared.clone();
    let lasts = context.config.operate.lease.min(Duration::from_secs(20));
    let looked = within(Duration::from_secs(40), "beat", move || -> anyhow::Result<_> {
        let lease = shared.lease()?;
        let first = lease.look()?;
        std::thread::sleep(lasts);
        Ok((first, lease.look()?))
    });
    match looked {
        Some(Ok((first, Some(beat)))) if first.as_ref() != Some(&beat) && !beat.released => {
            Finding::ok(check, beat.owner, "a ledger beats in the shared table; ask its own machine for more")
        }
        Some(Ok((_, Some(beat)))) => {
            Finding::fail(check, beat.owner, format!("the last ledger has been silent for {} s or more", lasts.as_secs()), why).fix(fix)
        }
        Some(Ok((_, None))) => Finding::warn(check, "", "no ledger has ever run on this shared table", why).fix(fix),
        Some(Err(error)) => Finding::skipped(check, "", format!("the shared table cannot be read: {error:#}")),
        None => Finding::skipped(check, "", "the shared table did not answer in time"),
    }
}

fn judge_status(status: &Status, flag: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let about = format!("sluice {}, pid {}", status.version, status.pid);
    if status.ready {
        found.push(Finding::ok("daemon.ready", &about, format!("ready, {}", status.stage)));
    }
    for reason in &status.reasons {
        let seen = format!("not ready: {} {}", reason.resource, reason.problem);
        found.push(
            Finding::fail("daemon.ready", &about, seen, "it does not count, tell or stop as it should").fix(format!("# {}", reason.fix)),
        );
    }
    match status.lag_ms {
        Some(lag) if lag > LAG[1] => {
            let fix = format!("sluice source list{flag}   # which shard; more CPU, or more shards");
            let why = "budgets are crossed long before they are seen to be";
            found.push(Finding::fail("daemon.lag", "", format!("{} s behind its streams", lag / 1_000), why).fix(fix));
        }
        Some(lag) if lag > LAG[0] => {
            let fix = format!("sluice source list{flag}");
            found.push(
                Finding::warn("daemon.lag", "", format!("{} s behind its streams", lag / 1_000), "overshoot grows with the lag").fix(fix),
            );
        }
        Some(lag) => found.push(Finding::ok("daemon.lag", "", format!("{} s behind its streams", lag / 1_000))),
        None => {}
    }
    if status.lake_waiting_ms > WAITS {
        let seen = format!("rows have waited {} s for the lake", status.lake_waiting_ms / 1_000);
        let why = "tables are old, and after the loss of the disk that much is read again";
        found.push(
            Finding::fail("daemon.lake", "", seen, why)
                .fix(format!("sluice status{flag}   # then space, permissions and speed of the lake's storage")),
        );
    } else if let Some(age) = status.lake.age_ms {
        found.push(Finding::ok("daemon.lake", "", format!("last lake commit {} s ago", age / 1_000)));
    }
    found.extend(coverage(status, flag));
    let rejected = status.counts.rejected;
    if rejected > 0 {
        let why = "each is kept whole in the table rejected; a call among them is in no sum";
        let fix = format!("sluice query{flag} \"SELECT reason, count(*) FROM rejected GROUP BY reason\"");
        found.push(Finding::warn("daemon.rejected", "", format!("{rejected} records could not be read since the start"), why).fix(fix));
    }
    found
}

fn coverage(status: &Status, flag: &str) -> Option<Finding> {
    let coverage = status.coverage.as_ref()?;
    if coverage.gap_calls > 0 || coverage.gap_tokens > 0 {
        let seen = format!("the lake lacks {} calls, about {}", coverage.gap_calls, coverage.gap_usd.display(2));
        let why = "these calls are in no sum, and no budget stopped them";
        return Some(
            Finding::fail("daemon.coverage", "", seen, why).fix(format!("sluice coverage{flag}   # which hours; then --backfill")),
        );
    }
    if coverage.compared == 0 {
        let why = "a missing call leaves no trace; docs/coverage.md says who can be asked";
        return Some(Finding::note("daemon.coverage", "", "there was nothing to compare the lake with", why));
    }
    Some(Finding::ok("daemon.coverage", "", format!("complete: {} models and hours compared", coverage.compared)))
}

fn judge_budgets(budgets: &Value, flag: &str) -> Vec<Finding> {
    let mut waiting: Vec<&str> =
        budgets.as_array().into_iter().flatten().filter(|row| row["confirmed"] == false).filter_map(|row| row["budget"].as_str()).collect();
    waiting.sort_unstable();
    waiting.dedup();
    let why = "a new or changed budget only notifies until a person has looked at it";
    let finding = |name: &&str| {
        let fix = format!("sluice approve {}{flag} --reason \"looked at it\"", crate::doctor::ask::quoted(name));
        Finding::warn("daemon.unconfirmed", *name, "the budget waits for confirmation: it stops nobody yet", why).fix(fix)
    };
    waiting.iter().map(finding).collect()
}

fn judge_holds(holds: &Value, flag: &str) -> Vec<Finding> {
    let waits = holds.as_array().into_iter().flatten().filter(|hold| hold["state"] == "pending_approval");
    let finding = |hold: &Value| {
        let id = hold["id"].as_str().unwrap_or_default();
        let note = hold["note"].as_str().map(|note| format!(": {note}")).unwrap_or_default();
        let seen = format!("a hold waits for a person{note}");
        Finding::warn("daemon.approval", hold["target"].as_str().unwrap_or_default(), seen, "until then the target goes on spending")
            .fix(format!("sluice hold show {id}{flag}   # then: sluice approve {id}{flag} --reason …"))
    };
    waits.map(finding).collect()
}

fn judge_levers(levers: &Value, flag: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    if levers["stopped"] == true {
        let fix = format!("sluice lever start{flag} --reason \"drill is over\"");
        found
            .push(Finding::fail("daemon.kill_switch", "", "the kill switch is thrown", "nobody is stopped, whatever budgets say").fix(fix));
    }
    if !levers["breaker"].is_null() {
        let seen = format!("the breaker has tripped: {}", levers["breaker"]["reason"].as_str().unwrap_or_default());
        let fix = format!("sluice lever list{flag}   # what failed; then: sluice lever close-breaker{flag} --reason …");
        found.push(Finding::fail("daemon.breaker", "", seen, "nobody is stopped until a person has looked").fix(fix));
    }
    let troubled =
        levers["levers"].as_array().into_iter().flatten().filter(|lever| !lever["trouble"].is_null() || !lever["ineffective"].is_null());
    for lever in troubled {
        let about = ["arn", "role", "user", "target"].iter().find_map(|key| lever["subject"][*key].as_str()).unwrap_or_default();
        let detail = ["trouble", "ineffective"].iter().map(|key| &lever[*key]).find(|text| !text.is_null()).map(told).unwrap_or_default();
        let fix = format!("sluice lever list{flag}   # what to do about each stage: docs/enforcement.md");
        found.push(Finding::fail("daemon.lever", about, detail, "a stop does not work, or one cannot be lifted").fix(fix));
    }
    if found.is_empty() {
        found.push(Finding::ok("daemon.levers", "", "no lever is in trouble; kill switch and breaker are off"));
    }
    found
}

fn told(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn audit(context: &Context) -> Finding {
    let config = context.config.clone();
    let check = "daemon.audit";
    match within(AUDIT, "audit", move || crate::audit::verify(&config)) {
        None => Finding::skipped(check, "", format!("the audit trail was not read within {} s: sluice audit verify", AUDIT.as_secs())),
        Some(Err(error)) => Finding::skipped(check, "", format!("{error:#}")),
        Some(Ok(verdict)) => match verdict.faults().next() {
            None => Finding::ok(check, "", format!("{} lines of the audit trail, none missing or changed", verdict.chain.lines)),
            Some(fault) => {
                let why = "somebody changed what was done, or by whom";
                Finding::fail(check, "", format!("the audit trail does not hold: {fault}"), why)
                    .fix(format!("sluice audit verify{}", context.flag()))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::finding::Level;
    use crate::operate::{Board, Stage};

    fn status() -> Status {
        let board = Board::default();
        board.enter(Stage::Running);
        let mut status = Status::of(&board.sight());
        (status.ready, status.reasons) = (true, Vec::new());
        status
    }

    fn levels(status: &Status) -> Vec<(&'static str, Level)> {
        judge_status(status, "").into_iter().map(|finding| (finding.check, finding.level)).collect()
    }

    #[test]
    fn a_daemon_is_ready_close_and_commits() {
        assert_eq!(levels(&status()), [("daemon.ready", Level::Ok)]);
        let lag = |lag: u64| levels(&Status { lag_ms: Some(lag), ..status() })[1].1;
        assert_eq!([lag(900), lag(61_000), lag(601_000)], [Level::Ok, Level::Warn, Level::Fail]);
        assert_eq!(levels(&Status { lake_waiting_ms: 91_000, ..status() })[1], ("daemon.lake", Level::Fail));
        let mut told = serde_json::to_value(status()).unwrap();
        let nothing = serde_json::to_value(sluice_schemas::PicoUsd::ZERO).unwrap();
        told["coverage"] = json!({"checked": told["at"], "compared": 3, "gap_calls": 1, "gap_tokens": 0, "gap_usd": nothing});
        let gap: Status = serde_json::from_value(told).unwrap();
        assert_eq!(levels(&gap)[1], ("daemon.coverage", Level::Fail));
    }

    #[test]
    fn what_waits_for_a_person_is_named() {
        let budgets = json!([{"budget": "a", "confirmed": false}, {"budget": "a", "confirmed": false}, {"budget": "b", "confirmed": true}]);
        let found = judge_budgets(&budgets, "");
        assert_eq!((found.len(), found[0].about.as_str()), (1, "a"));
        let holds = json!([{"id": "1", "target": "agent_id=a", "state": "pending_approval"}, {"id": "2", "state": "active"}]);
        assert_eq!(judge_holds(&holds, "").len(), 1);
    }

    #[test]
    fn levers_that_are_not_pulled_are_a_failure() {
        let checks =
            |levers: Value| -> Vec<(&'static str, Level)> { judge_levers(&levers, "").into_iter().map(|f| (f.check, f.level)).collect() };
        assert_eq!(checks(json!({"stopped": false, "breaker": null, "levers": []})), [("daemon.levers", Level::Ok)]);
        assert_eq!(checks(json!({"stopped": true, "breaker": null})), [("daemon.kill_switch", Level::Fail)]);
        assert_eq!(checks(json!({"stopped": false, "breaker": {"reason": "10 failures"}})), [("daemon.breaker", Level::Fail)]);
        let lever = json!({"subject": {"kind": "role", "arn": "r"}, "trouble": "AccessDenied"});
        assert_eq!(checks(json!({"stopped": false, "levers": [lever]})), [("daemon.lever", Level::Fail)]);
    }
}
