//! The shared table and the table of flags: there, with the right keys, expiring rows, a way back in time.

use serde_json::{Value, json};

use crate::doctor::Context;
use crate::doctor::ask::{DYNAMODB, Desk, is_code, is_denied, is_gone, quoted, unasked};
use crate::doctor::finding::Finding;
use crate::doctor::subject::Thing;

/// What a table has to look like.
pub(super) struct Form {
    /// Its keys, all texts.
    keys: &'static [(&'static str, &'static str)],
    /// The attribute by which rows expire.
    expiry: &'static str,
    /// The command that makes it.
    make: &'static str,
}

/// The shared store.
pub(super) const STORE: Form = Form { keys: &[("pk", "HASH"), ("sk", "RANGE")], expiry: "ttl", make: "sluice config create-table" };
/// The flags.
pub(super) const FLAGS: Form = Form { keys: &[("pk", "HASH")], expiry: "expires", make: "sluice flag create-table" };

/// Looks at a table; with `tries`, also whether these credentials may write to it.
pub(super) fn check(context: &Context, thing: &Thing, form: &Form, tries: bool) -> Vec<Finding> {
    let aws = match context.aws(&thing.way) {
        Ok(aws) => aws,
        Err(problem) => return vec![Finding::skipped("permissions.table", &thing.name, problem)],
    };
    let desk = Desk { aws: &*aws, region: thing.region(&context.home) };
    let name = json!({"TableName": thing.name});
    let table = match desk.json(&DYNAMODB, "DescribeTable", "dynamodb:DescribeTable", &name) {
        Ok(mut answer) => answer["Table"].take(),
        Err(error) if is_gone(&error) => {
            let why = "without it no hold and no breach can be claimed: nothing is told, nobody is stopped";
            let fix = format!("{}{}", form.make, context.flag());
            return vec![Finding::fail("permissions.table", &thing.name, "the table is not there", why).fix(fix)];
        }
        Err(error) => return vec![unasked("permissions.table", &thing.name, &error)],
    };
    let mut found = vec![judge_table(thing, form, &table)];
    match desk.json(&DYNAMODB, "DescribeTimeToLive", "dynamodb:DescribeTimeToLive", &name) {
        Ok(answer) => found.extend(judge_expiry(desk.region, thing, form, &answer["TimeToLiveDescription"])),
        Err(error) => found.push(unasked("permissions.table_expiry", &thing.name, &error)),
    }
    // Flags are written again from the store; what is lost with the store is lost.
    if form.make == STORE.make {
        match desk.json(&DYNAMODB, "DescribeContinuousBackups", "dynamodb:DescribeContinuousBackups", &name) {
            Ok(answer) => found.extend(judge_backups(desk.region, thing, &answer["ContinuousBackupsDescription"])),
            Err(error) => found.push(unasked("permissions.table_backup", &thing.name, &error)),
        }
    }
    if tries && table["TableStatus"] == "ACTIVE" {
        found.push(may_write(context, desk, thing, form));
    }
    found
}

fn judge_table(thing: &Thing, form: &Form, table: &Value) -> Finding {
    let is_text = |name: &str| {
        let attributes = table["AttributeDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
        attributes.iter().any(|attribute| attribute["AttributeName"] == *name && attribute["AttributeType"] == "S")
    };
    let keys: Vec<(&str, &str)> = table["KeySchema"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|key| (key["AttributeName"].as_str().unwrap_or_default(), key["KeyType"].as_str().unwrap_or_default()))
        .collect();
    let wanted = form.keys.iter().map(|(name, role)| format!("{name} {role}")).collect::<Vec<_>>().join(", ");
    if keys.len() != form.keys.len() || !form.keys.iter().all(|key| keys.contains(key) && is_text(key.0)) {
        let why = "sluice refuses a table of another kind: nothing is told, nobody is stopped";
        let fix = format!("{}   # after another name was given in the configuration; the keys of a table cannot change", form.make);
        return Finding::fail("permissions.table", &thing.name, format!("its keys are not {wanted}, all texts"), why).fix(fix);
    }
    match table["TableStatus"].as_str().unwrap_or_default() {
        "ACTIVE" | "UPDATING" => Finding::ok("permissions.table", &thing.name, format!("there, with the keys {wanted}")),
        status => {
            let fix = format!("aws dynamodb wait table-exists --table-name {}", quoted(&thing.name));
            Finding::fail("permissions.table", &thing.name, format!("its status is {status}"), "nothing can be claimed now").fix(fix)
        }
    }
}

fn judge_expiry(region: &str, thing: &Thing, form: &Form, expiry: &Value) -> Option<Finding> {
    let is_on =
        ["ENABLED", "ENABLING"].iter().any(|status| expiry["TimeToLiveStatus"] == *status) && expiry["AttributeName"] == form.expiry;
    (!is_on).then(|| {
        let fix = format!(
            "aws dynamodb update-time-to-live --region {region} --table-name {} --time-to-live-specification Enabled=true,AttributeName={}",
            quoted(&thing.name),
            form.expiry
        );
        let seen = format!("rows do not expire by '{}'", form.expiry);
        Finding::warn("permissions.table_expiry", &thing.name, seen, "rows that are over stay and are charged for ever").fix(fix)
    })
}

fn judge_backups(region: &str, thing: &Thing, backups: &Value) -> Option<Finding> {
    let is_on = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED";
    (!is_on).then(|| {
        let fix = format!(
            "aws dynamodb update-continuous-backups --region {region} --table-name {} --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
            quoted(&thing.name)
        );
        let why = "holds, intents and the audit trail are in this table alone: what is deleted by mistake cannot be had back";
        Finding::warn("permissions.table_backup", &thing.name, "no point-in-time recovery", why).fix(fix)
    })
}

/// Puts a row under a condition that can never hold.
fn may_write(context: &Context, desk: Desk<'_>, thing: &Thing, form: &Form) -> Finding {
    let item: Value = form.keys.iter().map(|(name, _)| ((*name).to_owned(), json!({"S": "sluice-doctor"}))).collect();
    let condition = "attribute_exists(pk) AND attribute_not_exists(pk)";
    let body = json!({"TableName": thing.name, "Item": item, "ConditionExpression": condition});
    let check = "permissions.table_write";
    match desk.json(&DYNAMODB, "PutItem", "dynamodb:PutItem", &body) {
        Err(error) if is_code(&error, &["ConditionalCheckFailed"]) => Finding::ok(check, &thing.name, "these credentials may write to it"),
        Err(error) if is_denied(&error) => super::permissions::denied(context, check, &thing.name, "dynamodb:PutItem"),
        Err(error) => unasked(check, &thing.name, &error),
        Ok(_) => {
            let why = "claims rest on conditions: two processes could act at once";
            Finding::fail(check, &thing.name, "a write whose condition cannot hold was accepted", why)
                .fix("# use DynamoDB itself for this table: this endpoint ignores conditions")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    fn table(keys: &[(&str, &str)], status: &str) -> Value {
        let schema: Vec<Value> = keys.iter().map(|(name, role)| json!({"AttributeName": name, "KeyType": role})).collect();
        let types: Vec<Value> = keys.iter().map(|(name, _)| json!({"AttributeName": name, "AttributeType": "S"})).collect();
        json!({"KeySchema": schema, "AttributeDefinitions": types, "TableStatus": status})
    }

    #[test]
    fn keys_expiry_and_backups() {
        let thing = Thing { name: "t".to_owned(), ..Thing::default() };
        let level = |keys: &[(&str, &str)], status: &str| judge_table(&thing, &STORE, &table(keys, status)).level;
        assert_eq!(level(&[("pk", "HASH"), ("sk", "RANGE")], "ACTIVE"), Level::Ok);
        assert_eq!(level(&[("pk", "HASH")], "ACTIVE"), Level::Fail);
        assert_eq!(level(&[("pk", "HASH"), ("sk", "RANGE")], "DELETING"), Level::Fail);
        let expiry =
            |status: &str, name: &str| judge_expiry("r", &thing, &STORE, &json!({"TimeToLiveStatus": status, "AttributeName": name}));
        assert!(expiry("ENABLED", "ttl").is_none() && expiry("ENABLED", "other").is_some() && expiry("DISABLED", "ttl").is_some());
        let backups =
            |status: &str| judge_backups("r", &thing, &json!({"PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": status}}));
        assert!(backups("ENABLED").is_none() && backups("DISABLED").is_some());
    }
}
