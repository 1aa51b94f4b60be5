//! The text of a first configuration: what was answered, and beside it, commented out, what comes next.

use super::{Answers, Each, FirstBudget, Logs, Reaction, Tell};

/// A first agents file: nothing is registered in it.
pub(crate) const AGENTS: &str = "\
# Agents that are registered, and the principals that are theirs: docs/attribution.md.
# Without an entry a claim of request metadata is taken and marked unverified. Once a principal has an agent, a claim of another agent
# from it is booked to the principal as spoofed.

# [[agent]]
# id = \"checkout-bot\"
# principals = [\"arn:aws:iam::123456789012:role/Checkout\"]
# team = \"checkout\"
# limit = \"25.00 USD\"          # for a budget with limit_from = \"agent\"
";

/// Returns a text as TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Returns the configuration.
pub(crate) fn render(answers: &Answers) -> String {
    let mut text = "\
# Which agent and which session spends what on Amazon Bedrock. Written by sluice init; every key there is: sluice config reference.
# sluice config check tells of every fault. A running daemon takes changed budgets, agents and prices by itself, within config_refresh.
"
    .to_owned();
    text += &lake(answers);
    text += &logs(answers);
    text += &enrich(answers);
    if let Some(budget) = &answers.budget {
        text += &first_budget(budget);
    } else {
        text += "\n# No budget yet. docs/budgets.md has more than ten to copy; sluice budget backtest tries one on the history first.\n";
    }
    text += &enforce(answers);
    text += &tell(answers);
    text + &control(answers)
}

fn region(answers: &Answers) -> String {
    answers.region.as_ref().map(|region| format!("region = {}\n", quoted(region))).unwrap_or_default()
}

fn lake(answers: &Answers) -> String {
    let mut text = format!(
        "\n[lake]\n# Tables of Parquet files, which sluice query, Athena, Spark and DuckDB read.\npath = {}\n",
        quoted(&answers.lake)
    );
    match &answers.table {
        Some(table) => {
            text += "\n# Fire ids, holds and approvals outlive this machine. sluice config create-table makes the table, once.\n";
            text += &format!("[shared]\ntable = {}\n{}", quoted(table), region(answers));
        }
        None => {
            text += "# Fire ids and holds lie in a file beside the local state: keep it on a disk you back up, or name a table.\n";
            text += "# [shared]\n# table = \"sluice\"\n";
        }
    }
    text
}

fn logs(answers: &Answers) -> String {
    let paths: Vec<String> =
        answers.logs.iter().filter_map(|logs| if let Logs::Path(path) = logs { Some(quoted(path)) } else { None }).collect();
    let mut text = String::new();
    if !paths.is_empty() {
        text += &format!(
            "\n[files]\n# Followed as they grow: JSON lines, JSON documents, gzip, the folders of S3.\npaths = [{}]\n",
            paths.join(", ")
        );
    }
    let buckets: Vec<String> =
        answers.logs.iter().filter_map(|logs| if let Logs::Bucket(path) = logs { Some(quoted(path)) } else { None }).collect();
    if !buckets.is_empty() {
        text += "\n[[source]]\nkind = \"s3\"\n";
        text += &format!("paths = [{}]\n", buckets.join(", "));
        text += &match &answers.queue {
            Some(queue) => format!(
                "# Told of each new object by the bucket; mode = \"both\" lists what is there already, too.\nqueues = [{}]\n",
                quoted(queue)
            ),
            None => "# Listed once at the start. Have the bucket tell an SQS queue of new objects, and name it here to follow them:\n\
                     # queues = [\"https://sqs.us-east-1.amazonaws.com/123456789012/bedrock-logs\"]\n"
                .to_owned(),
        };
        text += &region(answers);
    }
    for logs in &answers.logs {
        text += &match logs {
            Logs::Path(_) | Logs::Bucket(_) => String::new(),
            Logs::Kinesis(stream) => {
                let region = if stream.starts_with("arn:") { String::new() } else { region(answers) };
                let start = "# The oldest record that the stream still has; or latest.\nstart = \"trim_horizon\"\n";
                format!("\n[[source]]\nkind = \"kinesis\"\nstreams = [{}]\n{region}{start}", quoted(stream))
            }
            Logs::Kafka(brokers, topic) => {
                let brokers: Vec<String> = brokers.iter().map(|broker| quoted(broker)).collect();
                let more = "# security = { kind = \"tls\" }    # plaintext | tls | sasl | msk_iam\n";
                format!(
                    "\n[[source]]\nkind = \"kafka\"\nbrokers = [{}]\ntopics = [{}]\ngroup = \"sluice\"\n{more}",
                    brokers.join(", "),
                    quoted(topic)
                )
            }
        };
    }
    text
}

fn enrich(answers: &Answers) -> String {
    let agents = match &answers.agents {
        Some((file, true)) => format!("agents_file = {}\n", quoted(file)),
        Some((file, false)) => format!("# agents_file = {}   # once it is there\n", quoted(file)),
        None => "# agents_file = \"agents.toml\"   # which agents there are, and their principals\n".to_owned(),
    };
    format!(
        "\n[enrich]\n# Without an agents file what a caller says of itself is taken, and marked unverified: docs/attribution.md.\n{agents}\
         # prices_file = \"prices.toml\"   # your own prices over the list prices: sluice prices import\n"
    )
}

fn first_budget(budget: &FirstBudget) -> String {
    let FirstBudget { limit, window, each, reaction } = budget;
    let (whom, each) = match each {
        Each::Agent => ("every agent", "each = [\"agent_id\"]          # one counter for each agent\n"),
        Each::Session => ("every session", "each = [\"agent_id\", \"session_id\"]\n"),
        Each::Team => ("every team", "each = [\"team\"]\n"),
        Each::All => ("everything", ""),
    };
    let (mode, at_limit) = match reaction {
        Reaction::Notify => {
            ("# mode = \"observe\"         # with do = [\"notify\", \"hold\"]: holds are recorded, nothing is pulled\n", "[\"notify\"]")
        }
        Reaction::Observe => {
            ("mode = \"observe\"           # holds are recorded, nothing is pulled; then approve, then enforce\n", "[\"notify\", \"hold\"]")
        }
        Reaction::Approve => ("mode = \"approve\"           # a hold waits for sluice approve ID\n", "[\"notify\", \"hold\"]"),
        Reaction::Enforce => ("mode = \"enforce\"           # a hold pulls the levers of [enforce]\n", "[\"notify\", \"hold\"]"),
    };
    let often = match window.as_str() {
        "day" => "daily",
        "week" => "weekly",
        "month" => "monthly",
        "session" => "whole",
        "lifetime" => "in all",
        rolling => rolling,
    };
    let name = quoted(&format!("{whom}, {often}"));
    let (limit, window) = (quoted(limit), quoted(window));
    format!(
        "\n# A new or changed budget only notifies until sluice approve NAME. Others to copy: docs/budgets.md.\n\
         [[budget]]\nname = {name}\n{each}limit = {limit}\nwindow = {window}             # rolling 1h | day | week | month | session | lifetime\n\
         # timezone = \"Europe/Berlin\" # of day, week and month; UTC unless set\n{mode}\
         [[budget.threshold]]\nat = \"80%\"\ndo = [\"notify\"]\n[[budget.threshold]]\nat = \"100%\"\ndo = {at_limit}\n"
    )
}

fn enforce(answers: &Answers) -> String {
    let mut text = "\n[enforce]\n".to_owned();
    match &answers.deny_policy {
        Some(policy) => {
            text += "# A hold attaches this policy, which denies the calls of Bedrock's runtime and nothing else, to the roles and users behind at least\n\
                     # 99 % of the target's spend, and takes it off when the reason is gone: deploy/iam/deny-bedrock.json, docs/levers.md.\n\
                     # sluice lever check judges the permissions of this program before anything is pulled.\n";
            text += &format!("levers = [\"deny-policy\"]\ndeny_policy_arn = {}\n{}", quoted(policy), region(answers));
        }
        None => {
            text += "# No levers: holds are recorded and told, and no permission is touched. Read docs/enforcement.md before that changes.\n\
                     levers = []\n\
                     # levers = [\"deny-policy\"]\n\
                     # deny_policy_arn = \"arn:aws:iam::{account}:policy/sluice-deny-bedrock\"   # deploy/iam/deny-bedrock.json\n";
        }
    }
    text + "# Guards. Never held, whatever they spend: name your administrators and pipelines.\n\
            protected = []                 # \"agent_id=release-bot\", \"arn:aws:iam::123456789012:role/Admin*\"\n\
            # Beyond these a hold waits for a person (sluice approve):\n\
            # most_per_hour = 10           # holds that breaches put by themselves\n\
            # most_percent = 25            # of a budget's targets that may be held at once\n\
            # most_innocent = \"1%\"         # calls of others that a lever would stop, of those of the last 30 days\n"
}

fn tell(answers: &Answers) -> String {
    let mut text = "\n# Who is told of breaches, and of what becomes of holds: docs/notifications.md.\n".to_owned();
    if answers.tell.is_empty() {
        text += "# [[notify]]\n# kind = \"sns\"\n# topic_arn = \"arn:aws:sns:us-east-1:123456789012:sluice\"\n";
    }
    for receiver in &answers.tell {
        text += "[[notify]]\n";
        text += &match receiver {
            Tell::Sns(topic) => format!("kind = \"sns\"\ntopic_arn = {}\n", quoted(topic)),
            Tell::EventBridge(bus, region) => format!("kind = \"eventbridge\"\nbus = {}\nregion = {}\n", quoted(bus), quoted(region)),
            Tell::Slack(variable) => format!("kind = \"slack\"\nurl_env = {}\n", quoted(variable)),
            Tell::PagerDuty(variable) => format!("kind = \"pagerduty\"\nrouting_key_env = {}\nseverity = \"critical\"\n", quoted(variable)),
            Tell::Webhook(variable) => format!("kind = \"webhook\"\nurl_env = {}\n", quoted(variable)),
            Tell::File(path) => format!("kind = \"file\"\npath = {}\n", quoted(path)),
        };
    }
    text
}

fn control(answers: &Answers) -> String {
    let state = if answers.lake.starts_with("s3://") {
        "# The local state and the socket lie in STATE_DIRECTORY, or ~/.local/state/sluice; or, of a container:\n\
         # socket = \"/var/lib/sluice/control.sock\"\n"
    } else {
        ""
    };
    format!(
        "\n[control]\n{state}config_refresh = \"1m\"          # how often this text is looked at; of s3: and ssm: each look is a call for each text\n\
         \n[operate]\n# listen = \"127.0.0.1:9464\"    # /live, /ready and /metrics; no authentication: keep it on loopback or in a pod\n\
         # emf = \"stdout\"             # CloudWatch metrics, where a log driver carries standard output to CloudWatch Logs\n"
    )
}
