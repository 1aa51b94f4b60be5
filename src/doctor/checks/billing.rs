//! What the bill is compared with: cost allocation tags, a Cost and Usage Report by principal, a budget of AWS as a backstop.

use serde_json::{Value, json};
use sluice_enforce::aws::{Aws, CallError};

use crate::doctor::Context;
use crate::doctor::ask::{BUDGETS, COST_EXPLORER, DATA_EXPORTS, Desk, is_denied, unasked};
use crate::doctor::finding::Finding;
use crate::doctor::subject::Way;

/// Region of all services of billing.
const REGION: &str = "us-east-1";

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let aws = match context.base() {
        Ok(aws) => aws,
        Err(problem) => return vec![Finding::skipped("billing.tags", "", problem)],
    };
    let desk = Desk { aws: &*aws, region: REGION };
    let body = json!({"Status": "Active", "Type": "UserDefined"});
    let tags = desk.all(&COST_EXPLORER, ("ListCostAllocationTags", "ce:ListCostAllocationTags"), body, ("CostAllocationTags", "NextToken"));
    let budgets =
        desk.all(&BUDGETS, ("DescribeBudgets", "budgets:ViewBudget"), json!({"AccountId": context.me().account}), ("Budgets", "NextToken"));
    vec![
        tags.map_or_else(|error| refused("billing.tags", &error), |tags| judge_tags(&tags)),
        exports(context),
        budgets.map_or_else(|error| refused("billing.backstop", &error), |budgets| judge_budgets(&budgets, &context.me().account)),
    ]
}

/// A member account is often told nothing of billing.
fn refused(check: &'static str, error: &CallError) -> Finding {
    let mut found = unasked(check, "", error);
    if is_denied(error) {
        found.seen.push_str("; in an organization the payer account may have to be asked");
    }
    found
}

fn judge_tags(tags: &[Value]) -> Finding {
    let keys: Vec<&str> = tags.iter().filter_map(|tag| tag["TagKey"].as_str()).collect();
    if keys.is_empty() {
        let why = "the bill cannot be split by team or agent, so sluice reconcile compares sums of models alone; tags count from the day on which they are active";
        let fix = "aws ce update-cost-allocation-tags-status --cost-allocation-tags-status TagKey=team,Status=Active TagKey=agent,Status=Active   # in the payer account";
        return Finding::warn("billing.tags", "", "no cost allocation tag is active", why).fix(fix);
    }
    Finding::ok("billing.tags", "", format!("active: {}", keys.join(", ")))
}

/// The service has an address of another form than the others.
fn exports(context: &Context) -> Finding {
    let check = "billing.export";
    let endpoint = context
        .subject
        .way
        .endpoint
        .clone()
        .or_else(|| (context.me().partition() == "aws").then(|| format!("https://bcm-data-exports.{REGION}.api.aws")));
    match context.aws(&Way { endpoint, ..context.subject.way.clone() }) {
        Err(problem) => Finding::skipped(check, "", problem),
        Ok(aws) => read_exports(&*aws).map_or_else(|error| refused(check, &error), |exports| judge_exports(&exports)),
    }
}

fn read_exports(aws: &dyn Aws) -> Result<Vec<Value>, CallError> {
    let desk = Desk { aws, region: REGION };
    let listed = desk.all(&DATA_EXPORTS, ("ListExports", "bcm-data-exports:ListExports"), json!({}), ("Exports", "NextToken"))?;
    let read = |export: &Value| {
        let body = json!({"ExportArn": export["ExportArn"]});
        desk.json(&DATA_EXPORTS, "GetExport", "bcm-data-exports:GetExport", &body)
    };
    listed.iter().map(read).collect()
}

fn judge_exports(exports: &[Value]) -> Finding {
    let check = "billing.export";
    let configured = |export: &&Value| !export["Export"]["DataQuery"]["TableConfigurations"]["COST_AND_USAGE_REPORT"].is_null();
    let by_principal = |export: &&Value| {
        let says = &export["Export"]["DataQuery"]["TableConfigurations"]["COST_AND_USAGE_REPORT"]["INCLUDE_IAM_PRINCIPAL_DATA"];
        says.as_str().is_some_and(|says| says.eq_ignore_ascii_case("true"))
    };
    let name = |export: &Value| export["Export"]["Name"].as_str().unwrap_or_default().to_owned();
    if let Some(export) = exports.iter().find(by_principal) {
        if export["ExportStatus"]["StatusCode"] == "UNHEALTHY" {
            let seen = format!("not healthy: {}", export["ExportStatus"]["StatusReason"].as_str().unwrap_or("no reason is given"));
            let fix = "aws bcm-data-exports list-exports --region us-east-1   # then the policy of its bucket";
            return Finding::warn(check, name(export), seen, "no new report comes").fix(fix);
        }
        return Finding::ok(check, name(export), "a Cost and Usage Report with principals");
    }
    let why = "only a report with principals says what each role was billed, which sluice reconcile explains row by row";
    let fix = "# docs/reconcile.md says how to make one: COST_AND_USAGE_REPORT with TIME_GRANULARITY=HOURLY, INCLUDE_RESOURCES=TRUE, INCLUDE_IAM_PRINCIPAL_DATA=TRUE";
    match exports.iter().find(configured) {
        Some(export) => Finding::warn(check, name(export), "a Cost and Usage Report without principals", why).fix(fix),
        None => Finding::warn(check, "", "there is no Cost and Usage Report 2.0", why).fix(fix),
    }
}

fn judge_budgets(budgets: &[Value], account: &str) -> Finding {
    let names: Vec<&str> =
        budgets.iter().filter(|budget| budget["BudgetType"] == "COST").filter_map(|budget| budget["BudgetName"].as_str()).collect();
    if !names.is_empty() {
        return Finding::ok("billing.backstop", "", format!("AWS Budgets watches cost: {}", names.join(", ")));
    }
    let why = "a day late, but it needs nothing of this installation: the last line if sluice itself stands still";
    let budget = json!({"BudgetName": "bedrock-backstop", "BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": {"Amount": "1000", "Unit": "USD"},
        "CostFilters": {"Service": ["Amazon Bedrock"]}});
    let fix = format!("aws budgets create-budget --account-id {account} --budget '{budget}'");
    Finding::note("billing.backstop", "", "no cost budget in AWS Budgets", why).fix(fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn a_report_has_principals() {
        let export = |principals: &str, status: &str| {
            json!({"Export": {"Name": "cur", "DataQuery": {"TableConfigurations": {"COST_AND_USAGE_REPORT": {"INCLUDE_IAM_PRINCIPAL_DATA": principals}}}},
                "ExportStatus": {"StatusCode": status}})
        };
        assert_eq!(judge_exports(&[export("TRUE", "HEALTHY")]).level, Level::Ok);
        assert_eq!(judge_exports(&[export("FALSE", "HEALTHY")]).level, Level::Warn);
        assert_eq!(judge_exports(&[export("TRUE", "UNHEALTHY")]).level, Level::Warn);
        assert_eq!(judge_exports(&[]).level, Level::Warn);
    }

    #[test]
    fn tags_and_a_backstop() {
        assert_eq!(judge_tags(&[json!({"TagKey": "team"})]).level, Level::Ok);
        assert_eq!(judge_tags(&[]).level, Level::Warn);
        assert_eq!(judge_budgets(&[json!({"BudgetName": "b", "BudgetType": "COST"})], "1").level, Level::Ok);
        assert_eq!(judge_budgets(&[json!({"BudgetName": "b", "BudgetType": "USAGE"})], "1").level, Level::Note);
    }
}
