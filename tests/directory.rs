//! What AWS says about callers, from a file and from a service: it is asked once, kept in the lake, and outlives a restart.

#![cfg(test)]

#[cfg(feature = "aws")]
#[path = "../ingest/tests/directory/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const PROFILE: &str = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2c3d4e5f6";

/// A call of a role, through an application inference profile.
fn call(number: u64) -> String {
    format!(
        r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"2026-10-01T00:00:00Z","accountId":"111122223333","identity":{{"arn":"arn:aws:sts::111122223333:assumed-role/Agents/main"}},"region":"us-east-1","requestId":"{number:08x}-0000-4000-8000-000000000000","operation":"Converse","modelId":"{PROFILE}","input":{{"inputContentType":"application/json","inputTokenCount":1000000}},"output":{{"outputContentType":"application/json","outputTokenCount":0}}}}"#
    ) + "\n"
}

fn sluice(folder: &Path, args: &[&str]) -> Output {
    Command::new(SLUICE).current_dir(folder).args(args).output().unwrap()
}

fn rows(folder: &Path, sql: &str) -> Vec<Value> {
    let output = sluice(folder, &["query", sql, "--lake", "lake", "--format", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Value>(&output.stdout).unwrap().as_array().unwrap().clone()
}

#[test]
fn entries_of_a_file_are_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let entry = json!({"kind": "inference_profile", "arn": PROFILE, "name": "search", "tags": [["team", "search"]],
        "models": ["arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"]});
    fs::write(folder.join("directory.json"), json!([entry]).to_string()).unwrap();
    for number in 1..3 {
        fs::write(folder.join(format!("calls-{number}.jsonl")), call(number)).unwrap();
        let output = sluice(folder, &["replay", &format!("calls-{number}.jsonl"), "--lake", "lake", "--directory", "directory.json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let stored = rows(folder, "SELECT kind, arn, name, deleted, entry FROM directory");
        assert_eq!(stored.len(), 1, "the second time it says nothing new");
        assert_eq!((stored[0]["kind"].as_str(), stored[0]["arn"].as_str()), (Some("inference_profile"), Some(PROFILE)));
    }
    fs::write(folder.join("directory.json"), "[{}]").unwrap();
    let output = sluice(folder, &["replay", "calls-1.jsonl", "--lake", "lake", "--directory", "directory.json"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("directory.json") && told.contains("entry 1 has no arn"), "{told}");
}

#[cfg(feature = "aws")]
mod asked {
    use std::process::{Child, Stdio};
    use std::time::{Duration, Instant};

    use super::server::{Answer, Asked, Fake};
    use super::*;

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    struct Daemon(Child);

    impl Drop for Daemon {
        fn drop(&mut self) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }

    impl Daemon {
        fn start(folder: &Path) -> Self {
            let mut command = Command::new(SLUICE);
            command.current_dir(folder).args(["run", "--config", "sluice.toml"]).stderr(fs::File::create(folder.join("log")).unwrap());
            command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret").env_remove("AWS_PROFILE");
            Self(command.stdout(Stdio::null()).spawn().unwrap())
        }

        fn stop(mut self) {
            assert!(Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap().success());
            assert!(self.0.wait().unwrap().success());
        }
    }

    fn wait_until(what: &str, folder: &Path, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// An account with one role, one profile and one agent; lists of AgentCore are refused.
    fn answer(asked: &Asked) -> Answer {
        let tags = |call: &str| {
            format!(
                "<{call}Response><{call}Result><Tags><member><Key>team</Key><Value>search</Value></member></Tags></{call}Result></{call}Response>"
            )
        };
        match (asked.line.as_str(), asked.body.as_str()) {
            ("POST /", body) if body.starts_with("Action=GetRole&") => Answer::ok(
                "<GetRoleResponse><GetRoleResult><Role><RoleName>Agents</RoleName><Arn>arn:aws:iam::111122223333:role/x/Agents</Arn><AssumeRolePolicyDocument>%7B%7D</AssumeRolePolicyDocument></Role></GetRoleResult></GetRoleResponse>",
            ),
            ("POST /", body) if body.starts_with("Action=ListRoleTags&") => Answer::ok(tags("ListRoleTags")),
            ("GET /inference-profiles/a1b2c3d4e5f6", _) => {
                Answer::ok(json!({"inferenceProfileArn": PROFILE, "inferenceProfileName": "search",
                "models": [{"modelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"}]}))
            }
            ("POST /listTagsForResource", _) => Answer::ok(json!({"tags": [{"key": "agent", "value": "triage"}]})),
            ("POST /agents/", _) => Answer::ok(json!({"agentSummaries": [{"agentId": "A1"}]})),
            ("GET /agents/A1/", _) => {
                Answer::ok(json!({"agent": {"agentArn": "arn:aws:bedrock:us-east-1:111122223333:agent/A1", "agentName": "triage"}}))
            }
            (line, _) if line.starts_with("GET /tags/") => Answer::ok(json!({"tags": {}})),
            _ => Answer::refused(403, "AccessDeniedException"),
        }
    }

    fn folder_with(fake: &Fake) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        let config = format!(
            "[lake]\npath = 'lake'\ncommit_interval = '1s'\n[files]\npaths = ['logs']\n[control]\nsocket = 'control.sock'\n[directory]\nenabled = true\nper_second = 20\nregion = 'us-east-1'\nendpoint = '{}'\n",
            fake.address
        );
        fs::write(folder.path().join("sluice.toml"), config).unwrap();
        fs::write(folder.path().join("logs/calls-1.jsonl"), call(1)).unwrap();
        folder
    }

    #[test]
    fn what_calls_name_is_asked_once_and_outlives_a_restart() {
        let fake = Fake::start(|asked, _| answer(asked));
        let folder = folder_with(&fake);
        let folder = folder.path();
        let daemon = Daemon::start(folder);
        let kinds = || -> Vec<String> {
            let found =
                if folder.join("lake/directory").exists() { rows(folder, "SELECT kind FROM directory ORDER BY kind") } else { Vec::new() };
            found.iter().map(|row| row["kind"].as_str().unwrap().to_owned()).collect()
        };
        wait_until("the entries", folder, || kinds() == ["agent", "inference_profile", "role"]);
        let priced =
            || rows(folder, "SELECT cost_usd FROM calls WHERE priced").first().map(|row| row["cost_usd"].as_str().unwrap().to_owned());
        wait_until("the price of the profile's model", folder, || priced().is_some());
        assert_eq!(priced().unwrap().trim_end_matches('0'), "0.06");
        daemon.stop();
        let role = rows(folder, "SELECT arn, entry FROM directory WHERE kind = 'role'");
        assert_eq!(role[0]["arn"], "arn:aws:iam::111122223333:role/x/Agents");
        assert!(role[0]["entry"].as_str().unwrap().contains("search"), "{role:?}");
        let log = fs::read_to_string(folder.join("log")).unwrap();
        for action in ["bedrock-agentcore:ListAgentRuntimes", "bedrock-agentcore:ListHarnesses", "bedrock-agentcore:ListRegistries"] {
            assert_eq!(log.matches(action).count(), 1, "{action} is named once:\n{log}");
        }
        let asked = || fake.asked.lock().unwrap().iter().filter(|one| one.body.starts_with("Action=GetRole&")).count();
        assert_eq!(asked(), 1);
        fs::write(folder.join("logs/calls-2.jsonl"), call(2)).unwrap();
        let daemon = Daemon::start(folder);
        wait_until("the second call", folder, || rows(folder, "SELECT request_id FROM calls").len() == 2);
        // Lists are made again at once, so that what went meanwhile is seen; by then a question about the role would have come, too.
        let lists = || fake.lines().iter().filter(|line| *line == "POST /agents/").count();
        wait_until("the second list", folder, || lists() == 2);
        daemon.stop();
        assert_eq!((asked(), kinds().len()), (1, 3), "what is known is not asked again before it is old");
    }
}
