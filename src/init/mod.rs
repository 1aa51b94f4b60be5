//! A first configuration: what is to be known for it, and the commented text that it comes to.
//!
//! Owns: the answers, how each is written on the command line, the text. Does not own: who is asked and where the text goes.

mod ask;
mod render;

use std::fmt;
use std::str::FromStr;

pub(crate) use ask::{Asked, ask};
pub(crate) use render::{AGENTS, render};

/// Everything that a first configuration is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Where the logs are.
    pub(crate) logs: Vec<Logs>,
    /// Queue that is told of new objects of a bucket.
    pub(crate) queue: Option<String>,
    /// Region of streams, queues, tables.
    pub(crate) region: Option<String>,
    /// Root of the lake.
    pub(crate) lake: String,
    /// DynamoDB table of the shared store.
    pub(crate) table: Option<String>,
    /// The first budget.
    pub(crate) budget: Option<FirstBudget>,
    /// The fixed policy that denies Bedrock: switches the lever `deny-policy` on.
    pub(crate) deny_policy: Option<String>,
    /// Who is told.
    pub(crate) tell: Vec<Tell>,
    /// Agents file, and whether it is there.
    pub(crate) agents: Option<(String, bool)>,
}

/// The first budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstBudget {
    /// How much.
    pub(crate) limit: String,
    /// Over which time.
    pub(crate) window: String,
    /// For whom.
    pub(crate) each: Each,
    /// What follows.
    pub(crate) reaction: Reaction,
}

/// For whom a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Each {
    /// Each agent
    Agent,
    /// Each session of each agent
    Session,
    /// Each team
    Team,
    /// All calls together
    All,
}

/// What follows when the limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Reaction {
    /// It is told; nobody is held
    Notify,
    /// The hold is recorded, and what it would pull; nothing is pulled
    Observe,
    /// The hold waits for a person
    Approve,
    /// The hold pulls its levers
    Enforce,
}

/// A place of logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Logs {
    /// A file or a folder.
    Path(String),
    /// `s3://BUCKET/PREFIX`.
    Bucket(String),
    /// Name or ARN of a stream.
    Kinesis(String),
    /// Brokers and topic.
    Kafka(Vec<String>, String),
}

/// A receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    /// ARN of a topic.
    Sns(String),
    /// Name of a bus, and its region.
    EventBridge(String, String),
    /// Variable with the URL.
    Slack(String),
    /// Variable with the routing key.
    PagerDuty(String),
    /// Variable with the URL.
    Webhook(String),
    /// A file.
    File(String),
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unusable(String);

impl Unusable {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl FromStr for Logs {
    type Err = Unusable;

    fn from_str(text: &str) -> Result<Self, Unusable> {
        let needs = |feature: &str, there: bool| {
            let told = format!("this build cannot read '{text}': build it with --features {feature}");
            if there { Ok(()) } else { Err(Unusable(told)) }
        };
        if let Some(rest) = text.strip_prefix("s3:") {
            needs("aws", cfg!(feature = "aws"))?;
            let bucket = rest.strip_prefix("//").map(|rest| rest.split('/').next().unwrap_or_default());
            return match bucket {
                Some(bucket) if bucket.len() >= 3 => Ok(Self::Bucket(text.to_owned())),
                _ => Err(Unusable(format!("'{text}' names no bucket: write it like s3://my-logs/AWSLogs"))),
            };
        }
        if let Some(stream) = text.strip_prefix("kinesis:") {
            needs("aws", cfg!(feature = "aws"))?;
            return match stream {
                "" => Err(Unusable::new("name the stream, as in kinesis:bedrock-logs; its ARN does as well")),
                stream => Ok(Self::Kinesis(stream.to_owned())),
            };
        }
        if let Some(rest) = text.strip_prefix("kafka:") {
            needs("kafka", cfg!(feature = "kafka"))?;
            let parts = rest.split_once('/').filter(|(brokers, topic)| !brokers.is_empty() && !topic.is_empty());
            let (brokers, topic) = parts.ok_or_else(|| Unusable::new("write it like kafka:broker-1:9092,broker-2:9092/bedrock-logs"))?;
            return Ok(Self::Kafka(brokers.split(',').map(str::to_owned).collect(), topic.to_owned()));
        }
        if text.trim().is_empty() { Err(Unusable::new("name a file or a folder")) } else { Ok(Self::Path(text.to_owned())) }
    }
}

impl FromStr for Tell {
    type Err = Unusable;

    fn from_str(text: &str) -> Result<Self, Unusable> {
        let forms = "sns:TOPIC-ARN, eventbridge:BUS@REGION, slack:VARIABLE, pagerduty:VARIABLE, webhook:VARIABLE or file:PATH";
        let (kind, rest) = text.split_once(':').filter(|(_, rest)| !rest.is_empty()).ok_or_else(|| Unusable(format!("write {forms}")))?;
        let variable = || {
            let is_name = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && !rest.starts_with(|first: char| first.is_ascii_digit());
            let told =
                format!("'{rest}' is not the name of an environment variable; the secret itself does not belong into the configuration");
            if is_name { Ok(rest.to_owned()) } else { Err(Unusable(told)) }
        };
        match kind {
            "sns" if rest.starts_with("arn:") && rest.split(':').nth(2) == Some("sns") => Ok(Self::Sns(rest.to_owned())),
            "sns" => Err(Unusable(format!("'{rest}' is not the ARN of a topic: arn:aws:sns:REGION:ACCOUNT:NAME"))),
            "eventbridge" => {
                let parts = rest.split_once('@').filter(|(bus, region)| !bus.is_empty() && !region.is_empty());
                let (bus, region) = parts.ok_or_else(|| Unusable::new("write it like eventbridge:default@us-east-1"))?;
                Ok(Self::EventBridge(bus.to_owned(), region.to_owned()))
            }
            "slack" => Ok(Self::Slack(variable()?)),
            "pagerduty" => Ok(Self::PagerDuty(variable()?)),
            "webhook" => Ok(Self::Webhook(variable()?)),
            "file" => Ok(Self::File(rest.to_owned())),
            _ => Err(Unusable(format!("'{kind}' is no kind of receiver: write {forms}"))),
        }
    }
}

impl Answers {
    /// Makes relative paths absolute, for a configuration that lies elsewhere than where it was asked for.
    ///
    /// # Errors
    /// The working folder is gone.
    pub(crate) fn anchored(mut self) -> std::io::Result<Self> {
        let absolute = |text: &mut String| -> std::io::Result<()> {
            *text = std::path::absolute(&*text)?.to_string_lossy().into_owned();
            Ok(())
        };
        for logs in &mut self.logs {
            if let Logs::Path(path) = logs {
                absolute(path)?;
            }
        }
        if !self.lake.starts_with("s3://") {
            absolute(&mut self.lake)?;
        }
        for receiver in &mut self.tell {
            if let Tell::File(path) = receiver {
                absolute(path)?;
            }
        }
        if let Some((file, _)) = self.agents.as_mut().filter(|(file, _)| !file.starts_with("s3:") && !file.starts_with("ssm:")) {
            absolute(file)?;
        }
        Ok(self)
    }
}

impl fmt::Display for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(text) | Self::Bucket(text) => f.write_str(text),
            Self::Kinesis(stream) => write!(f, "kinesis:{stream}"),
            Self::Kafka(brokers, topic) => write!(f, "kafka:{}/{topic}", brokers.join(",")),
        }
    }
}

/// Checks a limit and a window.
///
/// # Errors
/// A sentence for people.
pub(crate) fn check_budget(limit: &str, window: &str) -> Result<(), Unusable> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let text = format!(
        "[[budget]]\nname = \"x\"\neach = [\"agent_id\", \"session_id\"]\nlimit = {}\nwindow = {}\n",
        quoted(limit),
        quoted(window)
    );
    let told = |error: sluice_enforce::BudgetsError| {
        let faults: Vec<String> = error.faults.iter().map(|fault| format!("{}: {}", fault.field, fault.problem)).collect();
        Unusable(faults.join("; "))
    };
    sluice_enforce::Budgets::parse(&text).map(drop).map_err(told)
}

/// Checks the root of a lake.
///
/// # Errors
/// A sentence for people.
pub(crate) fn check_lake(text: &str) -> Result<String, Unusable> {
    match text.strip_prefix("s3:") {
        Some(_) if cfg!(not(feature = "aws")) => Err(Unusable::new("this build writes no lake in S3: build it with --features aws")),
        Some(rest) if rest.strip_prefix("//").is_some_and(|rest| rest.split('/').next().is_some_and(|bucket| bucket.len() >= 3)) => {
            Ok(text.to_owned())
        }
        Some(_) => Err(Unusable(format!("'{text}' names no bucket: write it like s3://my-lake/sluice"))),
        None if text.trim().is_empty() => Err(Unusable::new("name a folder, or s3://BUCKET/PREFIX")),
        None => Ok(text.to_owned()),
    }
}

/// Checks the ARN of the policy that denies Bedrock.
///
/// # Errors
/// A sentence for people.
pub(crate) fn check_policy(text: &str) -> Result<String, Unusable> {
    if cfg!(not(feature = "aws")) {
        return Err(Unusable::new("this build pulls no levers: build it with --features aws"));
    }
    if text.starts_with("arn:") && text.contains(":policy/") {
        return Ok(text.to_owned());
    }
    Err(Unusable(format!("'{text}' is not the ARN of a policy: arn:aws:iam::{{account}}:policy/sluice-deny-bedrock")))
}

#[cfg(test)]
mod tests;
