//! Brings the entries of the Glue Data Catalog up to the lake's tables: made where missing, changed where columns differ.
//!
//! Source: AWS Glue API reference, `GetTable`, `CreateTable`, `UpdateTable`.

use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};
use sluice_enforce::aws::{Aws, Body, Call, CallError, Method};
use sluice_ingest::aws::{self as sdk, AwsSettings};
use sluice_schemas::SystemClock;

use super::entry::{Step, step};
use crate::enforcement::{Caller, CallerSettings};

/// Looks at an entry before giving up on others who change it at the same time.
const LOOKS: usize = 3;

/// The catalogue of an account in a region.
pub(crate) struct Catalogue {
    aws: Arc<dyn Aws>,
    region: String,
    database: String,
    /// Whether nothing is changed.
    dry_run: bool,
}

/// What came of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was missing.
    Created,
    /// It had other columns or another form.
    Updated,
    /// It was right.
    Current,
    /// It is someone else's.
    LeftAlone(String),
}

impl Catalogue {
    /// Returns the catalogue reached with the credentials of the environment.
    ///
    /// # Errors
    /// No region is set, or the credentials cannot be loaded.
    pub(crate) fn connect(region: Option<String>, database: &str, dry_run: bool) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        let loaded = runtime.block_on(sdk::load(&AwsSettings { region, endpoint: None, profile: None })).context("AWS")?;
        let region = loaded
            .region()
            .map(|region| region.as_ref().to_owned())
            .context("no region is set: give --region, glue_region in [lake] or AWS_REGION")?;
        let aws = Arc::new(Caller::new(loaded, CallerSettings::default(), Arc::new(SystemClock)));
        Ok(Self { aws, region, database: database.to_owned(), dry_run })
    }

    /// Makes or changes the entry of one table, unless it is right or someone else's.
    ///
    /// # Errors
    /// Glue refused or cannot be reached.
    pub(crate) fn bring(&self, wanted: &Value) -> anyhow::Result<Outcome> {
        let name = wanted["Name"].as_str().context("a table without a name")?;
        let mut looks = 1;
        loop {
            let found = self.get(name)?;
            let (operation, input, outcome) = match step(wanted, found.as_ref()) {
                Step::Keep => return Ok(Outcome::Current),
                Step::LeaveAlone(why) => return Ok(Outcome::LeftAlone(why)),
                Step::Create => (("CreateTable", "glue:CreateTable"), wanted.clone(), Outcome::Created),
                Step::Update(input) => (("UpdateTable", "glue:UpdateTable"), input, Outcome::Updated),
            };
            if self.dry_run {
                return Ok(outcome);
            }
            let mut body = json!({"DatabaseName": self.database, "TableInput": input});
            // Of two who change an entry at the same time one is refused and looks again.
            if let Some(version) = found.as_ref().and_then(|found| found.get("VersionId")).filter(|version| version.is_string()) {
                body["VersionId"] = version.clone();
            }
            match self.call(operation, true, &body) {
                Ok(_) => return Ok(outcome),
                Err(error) if looks < LOOKS && is_overtaken(&error) => looks += 1,
                Err(error) if code(&error) == "EntityNotFound" => {
                    let fix = "make it first, or name another (--database, glue_database in [lake])";
                    return Err(error)
                        .with_context(|| format!("the Glue database '{}' is not there in {}: {fix}", self.database, self.region));
                }
                Err(error) => return Err(error).with_context(|| format!("entry of table '{name}'")),
            }
        }
    }

    fn get(&self, name: &str) -> anyhow::Result<Option<Value>> {
        match self.call(("GetTable", "glue:GetTable"), false, &json!({"DatabaseName": self.database, "Name": name})) {
            Ok(mut answer) => Ok(Some(answer["Table"].take()).filter(|table| !table.is_null())),
            Err(error) if code(&error) == "EntityNotFound" => Ok(None),
            Err(error) => Err(error).with_context(|| format!("entry of table '{name}'")),
        }
    }

    fn call(&self, (operation, action): (&str, &'static str), writes: bool, body: &Value) -> Result<Value, CallError> {
        let headers = vec![("content-type", "application/x-amz-json-1.1".to_owned()), ("x-amz-target", format!("AWSGlue.{operation}"))];
        let call = Call {
            account: String::new(),
            host: "glue",
            service: "glue",
            region: self.region.clone(),
            global: false,
            method: Method::Post,
            path: "/".to_owned(),
            headers,
            body: Body::Json(body.to_string()),
            action,
            writes,
        };
        let reply = self.aws.call(&call)?;
        let text = reply.body.trim_ascii();
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(text).map_err(|error| CallError::Garbled { action, detail: error.to_string() })
    }
}

fn code(error: &CallError) -> &str {
    match error {
        CallError::Refused { code, .. } => code.strip_suffix("Exception").unwrap_or(code),
        _ => "",
    }
}

/// Tells whether someone else made or changed the entry since it was looked at.
fn is_overtaken(error: &CallError) -> bool {
    ["AlreadyExists", "ConcurrentModification", "VersionMismatch"].contains(&code(error))
}

#[cfg(test)]
#[path = "sync/tests.rs"]
mod tests;
