//! The tables that Athena reads, if there are any: of the right kind, at the lake.

use serde_json::{Value, json};

use crate::doctor::Context;
use crate::doctor::ask::{ATHENA, Desk, GLUE, is_code, is_gone, quoted, unasked};
use crate::doctor::finding::Finding;

/// Tables that questions rest on.
const TABLES: [&str; 4] = ["calls", "spend_minute", "spend_day", "breaches"];

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let database = &context.order.database;
    let aws = match context.base() {
        Ok(aws) => aws,
        Err(problem) => return vec![Finding::skipped("athena.tables", database, problem)],
    };
    let desk = Desk { aws: &*aws, region: &context.home };
    let tables = desk.all(&GLUE, ("GetTables", "glue:GetTables"), json!({"DatabaseName": database}), ("TableList", "NextToken"));
    let lake = context.subject.lake.as_ref().map(|lake| lake.shown());
    let mut found = match tables {
        Ok(tables) => judge_tables(database, &tables, lake.as_deref()),
        Err(error) if is_gone(&error) => {
            return vec![Finding::skipped("athena.tables", database, "there is no Glue database of that name; --database names another")];
        }
        Err(error) => return vec![unasked("athena.tables", database, &error)],
    };
    found.push(workgroup(context, desk));
    found
}

fn judge_tables(database: &str, tables: &[Value], lake: Option<&str>) -> Vec<Finding> {
    let mut found = Vec::new();
    let named = |name: &str| tables.iter().find(|table| table["Name"] == *name);
    let missing: Vec<&str> = TABLES.into_iter().filter(|name| named(name).is_none()).collect();
    if !missing.is_empty() {
        let why = "questions about them fail in Athena";
        let fix = "# make the tables of deploy/athena/tables.json: aws glue create-table --database-name DATABASE --table-input …";
        found.push(Finding::warn("athena.tables", database, format!("these tables are not there: {}", missing.join(", ")), why).fix(fix));
    }
    for name in TABLES {
        let Some(table) = named(name) else { continue };
        let about = format!("{database}.{name}");
        let kind = table["Parameters"]["table_type"].as_str().unwrap_or_default();
        let location = table["StorageDescriptor"]["Location"].as_str().unwrap_or_default().trim_end_matches('/');
        if !kind.eq_ignore_ascii_case("delta") {
            let why = "Athena then reads every file of the folder, replaced ones too: sums are too high";
            let fix = format!(
                "aws glue delete-table --database-name {} --name {name}   # then make it of deploy/athena/tables.json",
                quoted(database)
            );
            found.push(Finding::fail("athena.table_type", about, format!("table_type is '{kind}', not delta"), why).fix(fix));
        } else if let Some(lake) = lake.filter(|lake| location != format!("{}/{name}", lake.trim_end_matches('/'))) {
            let why = "it shows another lake than the one that is written";
            let fix = format!("# its location should be {}/{name}", lake.trim_end_matches('/'));
            found.push(Finding::warn("athena.location", about, format!("it is at {location}"), why).fix(fix));
        }
    }
    if found.is_empty() {
        found.push(Finding::ok("athena.tables", database, "the tables are there, of type delta, at the lake"));
    }
    found
}

fn workgroup(context: &Context, desk: Desk<'_>) -> Finding {
    let mut last = None;
    for name in [context.subject.instance.as_str(), "primary"] {
        match desk.json(&ATHENA, "GetWorkGroup", "athena:GetWorkGroup", &json!({"WorkGroup": name})) {
            Ok(answer) if answer["WorkGroup"].is_object() => return judge_workgroup(name, &answer["WorkGroup"]),
            Ok(_) => {}
            Err(error) if is_code(&error, &["InvalidRequest"]) => last = Some(error),
            Err(error) => return unasked("athena.workgroup", name, &error),
        }
    }
    last.map_or_else(
        || Finding::skipped("athena.workgroup", "primary", "there is no such workgroup"),
        |error| unasked("athena.workgroup", "primary", &error),
    )
}

fn judge_workgroup(name: &str, group: &Value) -> Finding {
    if group["State"] == "DISABLED" {
        let fix = format!("aws athena update-work-group --work-group {} --state ENABLED", quoted(name));
        return Finding::warn("athena.workgroup", name, "it is switched off", "no question can be asked through it").fix(fix);
    }
    let config = &group["Configuration"];
    let has_place =
        config["ResultConfiguration"]["OutputLocation"].is_string() || config["ManagedQueryResultsConfiguration"]["Enabled"] == json!(true);
    if !has_place {
        let why = "a question fails unless it names a place for its result";
        let fix = format!(
            "aws athena update-work-group --work-group {} --configuration-updates ResultConfigurationUpdates={{OutputLocation=s3://BUCKET/athena/}}",
            quoted(name)
        );
        return Finding::warn("athena.workgroup", name, "it has no place for results", why).fix(fix);
    }
    Finding::ok("athena.workgroup", name, "can be used")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    fn table(name: &str, kind: &str, location: &str) -> Value {
        json!({"Name": name, "Parameters": {"table_type": kind}, "StorageDescriptor": {"Location": location}})
    }

    #[test]
    fn tables_are_delta_and_at_the_lake() {
        let all = |kind: &str, at: &str| -> Vec<Value> { TABLES.map(|name| table(name, kind, &format!("{at}/{name}"))).into() };
        let first = |tables: &[Value]| judge_tables("sluice", tables, Some("s3://b/lake"))[0].clone();
        assert_eq!(first(&all("delta", "s3://b/lake")).level, Level::Ok);
        assert_eq!((first(&all("", "s3://b/lake")).check, first(&all("", "s3://b/lake")).level), ("athena.table_type", Level::Fail));
        assert_eq!(first(&all("DELTA", "s3://b/other")).check, "athena.location");
        assert_eq!(first(&all("delta", "s3://b/lake")[1..]).check, "athena.tables");
    }

    #[test]
    fn a_workgroup_is_on_and_has_a_place() {
        let level = |group: Value| judge_workgroup("w", &group).level;
        assert_eq!(level(json!({"State": "ENABLED", "Configuration": {"ResultConfiguration": {"OutputLocation": "s3://b/"}}})), Level::Ok);
        assert_eq!(level(json!({"State": "ENABLED"})), Level::Warn);
        assert_eq!(level(json!({"State": "DISABLED"})), Level::Warn);
    }
}
