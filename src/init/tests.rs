//! Every combination of answers is a configuration that passes every check; questions take defaults, and explain what is none.

use std::io::Cursor;

use super::*;
use crate::config::{Config, Origin};

fn budgets() -> Vec<Option<FirstBudget>> {
    let mut budgets = vec![None];
    for each in [Each::Agent, Each::Session, Each::Team, Each::All] {
        for window in ["day", "week", "month", "rolling 1h", "session", "lifetime"] {
            for reaction in [Reaction::Notify, Reaction::Observe, Reaction::Approve, Reaction::Enforce] {
                if window != "session" || each == Each::Session {
                    budgets.push(Some(FirstBudget { limit: "25.00 USD".to_owned(), window: window.to_owned(), each, reaction }));
                }
            }
        }
    }
    budgets
}

fn places() -> Vec<Vec<Logs>> {
    let mut texts = vec!["logs", "a \"b\"\\c"];
    if cfg!(feature = "aws") {
        texts.extend(["s3://my-logs/AWSLogs", "kinesis:bedrock-logs", "kinesis:arn:aws:kinesis:eu-central-1:111122223333:stream/logs"]);
    }
    if cfg!(feature = "kafka") {
        texts.push("kafka:b-1:9092,b-2:9092/logs");
    }
    let all: Vec<Logs> = texts.iter().map(|text| text.parse().unwrap()).collect();
    all.iter().map(|logs| vec![logs.clone()]).chain([all.clone()]).collect()
}

fn receivers() -> Vec<Vec<Tell>> {
    let texts = [
        "slack:SLACK_URL",
        "pagerduty:PD_KEY",
        "webhook:HOOK",
        "file:told.jsonl",
        "sns:arn:aws:sns:us-east-1:111122223333:t",
        "eventbridge:default@us-east-1",
    ];
    let all: Vec<Tell> = texts.iter().map(|text| text.parse().unwrap()).collect();
    [Vec::new()].into_iter().chain(all.iter().map(|tell| vec![tell.clone()])).chain([all.clone()]).collect()
}

#[test]
fn every_combination_passes_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    std::fs::write(folder.path().join("agents.toml"), AGENTS).unwrap();
    let aws = cfg!(feature = "aws");
    let some = |text: &str| Some(text.to_owned());
    let (lakes, tables) = if aws { (vec!["lake", "s3://my-lake/x"], vec![None, some("sluice")]) } else { (vec!["lake"], vec![None]) };
    let policies = if aws { vec![None, some("arn:aws:iam::{account}:policy/deny")] } else { vec![None] };
    let mut checked = 0;
    let mut check = |answers: &Answers| {
        std::fs::write(&file, render(answers)).unwrap();
        let config = Config::load(&Origin { file: Some(file.clone().into()), lake: None });
        let config = config.unwrap_or_else(|error| panic!("{answers:#?}\n{}\n{error}", render(answers)));
        if checked == 0 {
            // Prices and windows, which no answer changes.
            crate::pipeline::check(&config).unwrap();
        }
        assert_eq!(config.budgets.len(), usize::from(answers.budget.is_some()));
        assert_eq!(config.enforce.levers.is_empty(), answers.deny_policy.is_none());
        assert_eq!(config.notify.len(), answers.tell.len());
        checked += 1;
    };
    for (logs, lake) in places().iter().flat_map(|logs| lakes.iter().map(move |lake| (logs, lake))) {
        for (table, deny_policy) in tables.iter().flat_map(|table| policies.iter().map(move |policy| (table, policy))) {
            for region in [None, some("us-east-1")] {
                for agents in [None, Some(("agents.toml".to_owned(), true)), Some(("none.toml".to_owned(), false))] {
                    let (table, deny_policy, lake) = (table.clone(), deny_policy.clone(), (*lake).to_owned());
                    let queue = some("https://sqs.us-east-1.amazonaws.com/111122223333/q").filter(|_| region.is_some());
                    let mut answers = Answers {
                        logs: logs.clone(),
                        queue,
                        region: region.clone(),
                        lake,
                        table,
                        budget: None,
                        deny_policy,
                        tell: Vec::new(),
                        agents,
                    };
                    check(&answers);
                    answers.budget = budgets()[6].clone();
                    check(&answers);
                }
            }
        }
    }
    for (budget, tell) in budgets().into_iter().flat_map(|budget| receivers().into_iter().map(move |tell| (budget.clone(), tell))) {
        let logs = vec![Logs::Path("logs".to_owned())];
        let none = (None, None, None, None, None);
        let (queue, region, table, deny_policy, agents) = none;
        check(&Answers { logs, queue, region, lake: "lake".to_owned(), table, budget, deny_policy, tell, agents });
    }
    assert!(checked > 600, "{checked}");
}

fn answered(lines: &str, known: Asked) -> (anyhow::Result<Answers>, String) {
    let mut words = Vec::new();
    let answers = ask(known, &mut Cursor::new(lines.as_bytes()), &mut words, str::to_owned);
    (answers, String::from_utf8(words).unwrap())
}

#[test]
fn enter_takes_every_default() {
    let (answers, words) = answered(&"\n".repeat(20), Asked::default());
    let answers = answers.unwrap();
    assert_eq!((answers.lake.as_str(), answers.table), ("lake", None));
    let budget = answers.budget.unwrap();
    assert_eq!((budget.limit.as_str(), budget.window.as_str()), ("25.00 USD", "day"));
    assert_eq!((budget.each, budget.reaction), (Each::Agent, Reaction::Observe));
    assert!(matches!(answers.logs[..], [Logs::Path(_)]) && answers.tell.is_empty() && answers.deny_policy.is_none());
    assert_eq!(answers.agents, Some(("agents.toml".to_owned(), false)));
    assert!(words.contains("1. Where are the logs of the calls?") && words.contains("[25.00 USD]"), "{words}");
}

#[test]
fn bad_answers_are_explained_and_asked_again() {
    let lines = "9\nfolder\n\nlake\n?\nnone\nmany\n12\nfortnight\nrolling 1h\nteam\nnotify\nslack:https://x\nfile:told\nfile:told\nnone\n";
    let (answers, words) = answered(lines, Asked::default());
    let answers = answers.unwrap();
    for told in [
        "'9' is none of them: a number from 1 to 4",
        "what a caller says of itself",
        "'many' is not an amount",
        "'fortnight' is not known",
        "not the name of an environment variable",
        "told already",
    ] {
        assert!(words.contains(told), "{told}: {words}");
    }
    assert_eq!(
        answers.budget,
        Some(FirstBudget { limit: "12 USD".to_owned(), window: "rolling 1h".to_owned(), each: Each::Team, reaction: Reaction::Notify })
    );
    assert_eq!((answers.agents, answers.tell), (None, vec![Tell::File("told".to_owned())]));
}

#[test]
fn what_flags_say_is_not_asked() {
    let known = Asked {
        logs: vec![Logs::Path("logs".to_owned())],
        lake: Some("lake".to_owned()),
        agents: Some("agents.toml".to_owned()),
        no_budget: true,
        tell: vec![Tell::File("told".to_owned())],
        ..Asked::default()
    };
    let (answers, words) = answered("", known);
    assert!(answers.unwrap().budget.is_none() && !words.contains("1."), "{words}");
    let (answers, _) = answered("\n", Asked::default());
    assert!(answers.unwrap_err().to_string().contains("nothing was written"));
    assert!(Asked::default().complete().unwrap_err().to_string().contains("--logs"));
}

#[test]
fn places_and_receivers_that_are_none_say_how_to_write_them() {
    for wrong in ["", "s3:bucket", "s3://x", "kinesis:", "kafka:b-1:9092", "kafka:/topic"] {
        assert!(wrong.parse::<Logs>().is_err(), "{wrong}");
    }
    for wrong in ["", "sns", "sns:topic", "eventbridge:default", "slack:https://hooks.example.com/x", "slack:", "pager:X", "webhook:9X"] {
        assert!(wrong.parse::<Tell>().is_err(), "{wrong}");
    }
}
