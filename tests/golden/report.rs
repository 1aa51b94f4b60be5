//! What a lake and its budgets say, as text: everything but where a record was read and when.

use std::fmt::Write as _;

use sluice_aggregate::query::format_csv;

use super::super::Pipeline;

const CALLS: &str = "SELECT event_time, request_id, account_id, region, inference_region, operation, model_id, model, price_scope, service_tier, \
    error_code, role, role_session_name, agent_id, agent_status, agent_evidence, session_id, session_evidence, team, input_tokens, output_tokens, \
    cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, latency_ms, cost_usd, cost_max_usd, cost_basis, price_version, priced \
    FROM calls ORDER BY event_time, request_id, account_id, region";
const MEASURES: &str = "sum(calls) AS calls, sum(errors) AS errors, sum(unpriced_calls) AS unpriced, sum(input_tokens) AS input, \
    sum(output_tokens) AS output, sum(cache_read_tokens) AS cache_read, sum(cache_write_5m_tokens) AS cache_write_5m, \
    sum(cache_write_1h_tokens) AS cache_write_1h, sum(cost_usd) AS cost_usd, sum(cost_max_usd) AS cost_max_usd";
/// What late evidence took all calls of is no row to speak of: it is there if they came first.
const LEFT: &str = "HAVING sum(calls) <> 0 OR sum(cost_usd) <> 0 OR sum(cost_max_usd) <> 0";
const REJECTED: &str = "SELECT reason, detail, bytes, sha256, count(*) AS records FROM rejected GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";
const BREACHES: &str = "SELECT budget, target, period, threshold, limit_usd, fire_id, count(*) AS rows FROM breaches GROUP BY 1, 2, 3, 4, 5, 6 \
    ORDER BY 1, 2, 3, 4, 6";
/// How often late evidence moved a call is a matter of what came first; where the call is at last is not.
const CORRECTIONS: &str = "SELECT event_time, request_id, kind, to_agent, cost_before_usd, cost_after_usd, price_version FROM corrections \
    WHERE kind NOT IN ('owner', 'tags') ORDER BY 1, 2, 3";

/// Returns the report of a pipeline that reads nothing any more.
pub(super) fn report(pipeline: &Pipeline) -> String {
    let engine = crate::lakeview::engine(&pipeline.lake, pipeline.live_rows()).unwrap();
    let mut text = String::new();
    let mut section = |title: &str, sql: &str| {
        let rows = format_csv(&engine.sql(sql).unwrap()).replace('\r', "");
        write!(text, "# {title}\n{rows}\n").unwrap();
    };
    section("calls", CALLS);
    for (table, keys) in [
        ("spend_minute", "minute, account_id, region, agent_id, model, team"),
        ("spend_hour", "hour, account_id, region, agent_id, model, team"),
        ("spend_day", "dt, account_id, region, agent_id, model, team, principal_arn, session_id"),
        ("spend_session", "account_id, region, agent_id, model, team, principal_arn, session_id"),
    ] {
        section(table, &format!("SELECT {keys}, {MEASURES} FROM {table} GROUP BY {keys} {LEFT} ORDER BY {keys}"));
    }
    section("rejected", REJECTED);
    section("breaches", BREACHES);
    section("corrections", CORRECTIONS);
    text.push_str("# budgets\nbudget,target,period,spent,calls,unpriced,thresholds\n");
    for status in pipeline.budget_status().iter().filter(|status| !status.rolling) {
        let mut fired: Vec<&str> = status.fired.iter().map(|fired| fired.threshold.as_str()).collect();
        fired.sort_unstable();
        let (budget, target, period, spent) = (&status.budget, &status.target, &status.period, status.spent);
        writeln!(text, "{budget},{target},{period},{spent},{},{},{}", status.calls, status.unpriced_calls, fired.join(" ")).unwrap();
    }
    text
}
