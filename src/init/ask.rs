//! The questions: each has a default that Enter takes, `?` explains, and an answer that is none is told why.

use std::io::{BufRead, Write};
use std::path::Path;
use std::str::FromStr;

use anyhow::bail;

use super::{Answers, Each, FirstBudget, Logs, Reaction, Tell, Unusable, check_budget, check_lake, check_policy};

/// What is known before the first question: what flags say is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) logs: Vec<Logs>,
    pub(crate) queue: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) lake: Option<String>,
    pub(crate) table: Option<String>,
    pub(crate) limit: Option<String>,
    pub(crate) window: Option<String>,
    pub(crate) each: Option<Each>,
    pub(crate) reaction: Option<Reaction>,
    pub(crate) no_budget: bool,
    pub(crate) deny_policy: Option<String>,
    pub(crate) tell: Vec<Tell>,
    pub(crate) agents: Option<String>,
}

impl Asked {
    /// Returns the answers without a question: what is not said has its default.
    ///
    /// # Errors
    /// There is no default for where the logs are; a limit and a window that are no budget.
    pub(crate) fn complete(self) -> anyhow::Result<Answers> {
        if self.logs.is_empty() {
            bail!("where are the logs? --logs FOLDER, s3://BUCKET/PREFIX, kinesis:STREAM or kafka:BROKER/TOPIC; on a terminal it is asked");
        }
        let budget = FirstBudget {
            limit: self.limit.unwrap_or_else(|| LIMIT.to_owned()),
            window: self.window.unwrap_or_else(|| WINDOW.to_owned()),
            each: self.each.unwrap_or(Each::Agent),
            reaction: self.reaction.unwrap_or(Reaction::Observe),
        };
        check_budget(&budget.limit, &budget.window)?;
        let agents = self.agents.map(|file| (file, false));
        let (logs, queue, region, table) = (self.logs, self.queue, self.region, self.table);
        let budget = (!self.no_budget).then_some(budget);
        let lake = self.lake.unwrap_or_else(|| LAKE.to_owned());
        let window_needs_session = budget.as_ref().is_some_and(|budget| budget.window == "session" && budget.each != Each::Session);
        if window_needs_session {
            bail!("a session window is counted for each session: --each session");
        }
        Ok(Answers { logs, queue, region, lake, table, budget, deny_policy: self.deny_policy, tell: self.tell, agents })
    }
}

const LIMIT: &str = "25.00 USD";
const WINDOW: &str = "day";
const LAKE: &str = "lake";

/// Asks for what is not known yet. `words` writes to people, `paint` makes a word stand out.
///
/// # Errors
/// The answers end before the last question.
pub(crate) fn ask(known: Asked, input: &mut dyn BufRead, words: &mut dyn Write, paint: fn(&str) -> String) -> anyhow::Result<Answers> {
    let mut terminal = Terminal { input, words, paint, step: 0 };
    writeln!(
        terminal.words,
        "{}\nA first configuration, by questions. Enter takes what stands in [brackets], ? explains; nothing is written before the end.\n",
        paint("sluice init")
    )?;
    let mut known = known;
    logs(&mut terminal, &mut known)?;
    lake(&mut terminal, &mut known)?;
    agents(&mut terminal, &mut known)?;
    budget(&mut terminal, &mut known)?;
    levers(&mut terminal, &mut known)?;
    tell(&mut terminal, &mut known)?;
    known.complete()
}

struct Terminal<'a> {
    input: &'a mut dyn BufRead,
    words: &'a mut dyn Write,
    paint: fn(&str) -> String,
    step: usize,
}

impl Terminal<'_> {
    fn step(&mut self, title: &str) -> anyhow::Result<()> {
        self.step += 1;
        let title = format!("{}. {title}", self.step);
        writeln!(self.words, "{}", (self.paint)(&title))?;
        Ok(())
    }

    fn say(&mut self, text: &str) -> anyhow::Result<()> {
        for line in text.lines() {
            writeln!(self.words, "    {line}")?;
        }
        Ok(())
    }

    /// Asks until there is an answer.
    fn question<T>(
        &mut self,
        prompt: &str,
        default: &str,
        help: &str,
        read: &mut dyn FnMut(&str) -> Result<T, Unusable>,
    ) -> anyhow::Result<T> {
        loop {
            write!(self.words, "    {prompt} [{}]: ", (self.paint)(default))?;
            self.words.flush()?;
            let mut line = String::new();
            if self.input.read_line(&mut line)? == 0 {
                writeln!(self.words)?;
                bail!("the answers ended before the last question; nothing was written");
            }
            let answer = line.trim();
            if answer == "?" {
                self.say(help)?;
                continue;
            }
            match read(if answer.is_empty() { default } else { answer }) {
                Ok(value) => return Ok(value),
                Err(Unusable(why)) => self.say(&format!("! {why}"))?,
            }
        }
    }

    /// Has one of several chosen, by number or word.
    fn choice<T: Copy>(&mut self, options: &[(&str, &str, T)], default: usize, help: &str) -> anyhow::Result<T> {
        for (number, (word, meaning, _)) in (1..).zip(options) {
            self.say(&format!("  {number}  {word:<9} {meaning}"))?;
        }
        self.question("number or word", &default.to_string(), help, &mut |answer| {
            let at = answer.parse::<usize>().ok().and_then(|number| options.get(number.checked_sub(1)?));
            let named = || options.iter().find(|(word, _, _)| word.eq_ignore_ascii_case(answer));
            let words = || options.iter().map(|(word, _, _)| *word).collect::<Vec<_>>().join(", ");
            at.or_else(named)
                .map(|(_, _, value)| *value)
                .ok_or_else(|| Unusable(format!("'{answer}' is none of them: a number from 1 to {}, or {}", options.len(), words())))
        })
    }
}

fn parsed<T: FromStr<Err = Unusable>>(prefix: &str) -> impl FnMut(&str) -> Result<T, Unusable> {
    move |text| if text.starts_with(prefix) { text.parse() } else { format!("{prefix}{text}").parse() }
}

fn logs(terminal: &mut Terminal<'_>, known: &mut Asked) -> anyhow::Result<()> {
    if known.logs.is_empty() {
        terminal.step("Where are the logs of the calls?")?;
        let kinds = [
            ("folder", "files or folders of this machine, such as a copy of the bucket", 0),
            ("bucket", "the bucket that Bedrock's model-invocation logging writes to", 1),
            ("kinesis", "a Kinesis stream that the log group is subscribed to: seen soonest", 2),
            ("kafka", "a Kafka topic", 3),
        ];
        let help = "aws bedrock get-model-invocation-logging-configuration tells where Bedrock writes them.\n\
                    Kinesis shows a call within seconds; a bucket within minutes, as Bedrock delivers; a folder is good for a look at the past.";
        let kind = terminal.choice(&kinds, 1, help)?;
        let logs = match kind {
            0 => {
                let default = if Path::new("AWSLogs").is_dir() { "AWSLogs" } else { "logs" };
                terminal.question("file or folder", default, "It may be empty yet, and it may grow.", &mut |text| match text.parse()? {
                    path @ Logs::Path(_) => Ok(path),
                    other => Err(Unusable(format!("{other} is no folder: choose again with sluice init --logs {other}"))),
                })?
            }
            1 => terminal.question(
                "bucket and prefix",
                "s3://my-logs/AWSLogs",
                "s3://BUCKET or s3://BUCKET/PREFIX.",
                &mut parsed("s3://"),
            )?,
            2 => terminal.question("stream", "bedrock-logs", "Its name, or its ARN.", &mut parsed("kinesis:"))?,
            _ => terminal.question("brokers/topic", "localhost:9092/bedrock-logs", "host:port,host:port/topic.", &mut parsed("kafka:"))?,
        };
        known.logs.push(logs);
    }
    let has_bucket = known.logs.iter().any(|logs| matches!(logs, Logs::Bucket(_)));
    if has_bucket && known.queue.is_none() {
        let help = "With a queue new objects are read as they come. Without one the bucket is listed once, at each start.\n\
                    The bucket notifies an SQS queue of s3:ObjectCreated:* (Amazon S3 User Guide, \"Amazon S3 Event Notifications\").";
        let queue = terminal.question("URL of the SQS queue that is told of new objects", "none", help, &mut |text| match text {
            "none" => Ok(None),
            url if url.starts_with("https://") || url.starts_with("http://") => Ok(Some(url.to_owned())),
            other => Err(Unusable(format!(
                "'{other}' is no URL of a queue, such as https://sqs.us-east-1.amazonaws.com/123456789012/logs; or none"
            ))),
        })?;
        known.queue = queue;
    }
    let in_aws = known.logs.iter().any(|logs| matches!(logs, Logs::Bucket(_) | Logs::Kinesis(_)));
    if in_aws && known.region.is_none() {
        let default =
            std::env::var("AWS_REGION").or_else(|_| std::env::var("AWS_DEFAULT_REGION")).unwrap_or_else(|_| "us-east-1".to_owned());
        known.region = Some(terminal.question("region", &default, "Of the stream, the bucket and the queue.", &mut |text| region(text))?);
    }
    Ok(())
}

fn region(text: &str) -> Result<String, Unusable> {
    let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if plain && text.split('-').count() >= 3 {
        Ok(text.to_owned())
    } else {
        Err(Unusable(format!("'{text}' is no region such as us-east-1")))
    }
}

fn lake(terminal: &mut Terminal<'_>, known: &mut Asked) -> anyhow::Result<()> {
    if known.lake.is_none() {
        terminal.step("Where are the tables to lie?")?;
        let help = "The lake: one row a call, and spend by minute, day and session, as Delta tables of Parquet files.\n\
                    A folder does for one machine. In S3 (s3://BUCKET/PREFIX) Athena reads it, and a lost machine loses nothing.";
        known.lake = Some(terminal.question("folder, or s3://BUCKET/PREFIX", LAKE, help, &mut check_lake)?);
    }
    let in_s3 = known.lake.as_ref().is_some_and(|lake| lake.starts_with("s3://"));
    if in_s3 && known.table.is_none() {
        let help = "Fire ids, holds and approvals, so that the next machine does nothing twice. none keeps them in a file of this machine.";
        let table = terminal
            .question("DynamoDB table for holds and approvals, or none", "sluice", help, &mut |text| Ok::<_, Unusable>(text.to_owned()))?;
        known.table = (table != "none").then_some(table);
        if known.table.is_some() && known.region.is_none() {
            known.region = Some(terminal.question("region", "us-east-1", "Of the table.", &mut |text| region(text))?);
        }
    }
    Ok(())
}

fn agents(terminal: &mut Terminal<'_>, known: &mut Asked) -> anyhow::Result<()> {
    if known.agents.is_some() {
        return Ok(());
    }
    terminal.step("Which agents are there?")?;
    let help = "A file that registers agents with the roles that are theirs. Without one what a caller says of itself is taken,\n\
                and marked unverified. A file that is not there is written with an example, commented out.";
    known.agents = terminal
        .question("agents file, or none", "agents.toml", help, &mut |text| Ok::<_, Unusable>((text != "none").then(|| text.to_owned())))?;
    Ok(())
}

fn budget(terminal: &mut Terminal<'_>, known: &mut Asked) -> anyhow::Result<()> {
    if known.no_budget || (known.limit.is_some() && known.reaction.is_some()) {
        return Ok(());
    }
    terminal.step("How much may an agent spend?")?;
    if known.limit.is_none() {
        let help = "The first budget; docs/budgets.md has more than ten others. none for no budget yet.\n\
                    sluice budget backtest tells what it would have done in the past, before it does anything.";
        let window = known.window.clone().unwrap_or_else(|| WINDOW.to_owned());
        known.limit = terminal.question("limit, or none", LIMIT, help, &mut |text| {
            if text == "none" {
                return Ok(None);
            }
            let text = if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') { format!("{text} USD") } else { text.to_owned() };
            check_budget(&text, &window).map(|()| Some(text))
        })?;
        known.no_budget = known.limit.is_none();
        if known.no_budget {
            return Ok(());
        }
    }
    if known.window.is_none() {
        let help = "day, week and month begin at midnight UTC (timezone = changes that); \"rolling 1h\" is the last hour before any call; \
                    session is the whole of a session.";
        let limit = known.limit.clone().unwrap_or_else(|| LIMIT.to_owned());
        known.window = Some(terminal.question("in each", WINDOW, help, &mut |text| check_budget(&limit, text).map(|()| text.to_owned()))?);
    }
    if known.window.as_deref() == Some("session") {
        known.each = Some(Each::Session);
    }
    if known.each.is_none() {
        let options = [
            ("agent", "each agent has its own", Each::Agent),
            ("session", "each session of each agent", Each::Session),
            ("team", "each team", Each::Team),
            ("all", "all calls together", Each::All),
        ];
        known.each = Some(terminal.choice(&options, 1, "One counter for each of them.")?);
    }
    if known.reaction.is_none() {
        terminal.say("and when it is spent:")?;
        let options = [
            ("notify", "it is told", Reaction::Notify),
            ("observe", "a hold is recorded, with what it would pull; nothing is pulled", Reaction::Observe),
            ("approve", "a hold waits for a person", Reaction::Approve),
            ("enforce", "a hold pulls permissions by itself, within the guards", Reaction::Enforce),
        ];
        let help = "Begin with observe: sluice hold show ID then says who would be stopped, and who else calls through the same role.\n\
                    Whatever is chosen, a new budget only notifies until sluice approve NAME.";
        known.reaction = Some(terminal.choice(&options, 2, help)?);
    }
    Ok(())
}

fn levers(terminal: &mut Terminal<'_>, known: &mut Asked) -> anyhow::Result<()> {
    let wanted = matches!(known.reaction, Some(Reaction::Approve | Reaction::Enforce)) && !known.no_budget;
    if !wanted || known.deny_policy.is_some() {
        return Ok(());
    }
    terminal.step("What may a hold pull?")?;
    terminal.say(
        "Levers are off unless you switch one on; holds are then recorded. deny-policy attaches one fixed policy that denies\n\
         Bedrock's runtime to the roles behind the spend. Guards: nobody of protected, no role that others call through (1 %),\n\
         at most 10 holds an hour; beyond them a person is asked.",
    )?;
    let help = "Make the policy from deploy/iam/deny-bedrock.json; {account} stands for each account. docs/enforcement.md has the steps.";
    known.deny_policy = terminal.question("ARN of the deny policy, or none", "none", help, &mut |text| match text {
        "none" => Ok(None),
        arn => check_policy(arn).map(Some),
    })?;
    Ok(())
}

fn tell(terminal: &mut Terminal<'_>, known: &mut Asked) -> anyhow::Result<()> {
    if !known.tell.is_empty() {
        return Ok(());
    }
    terminal.step("Who is told?")?;
    let help = "sns:TOPIC-ARN                  a topic\n\
                eventbridge:BUS@REGION         a bus\n\
                slack:VARIABLE                 an incoming webhook, whose URL stands in that environment variable\n\
                pagerduty:VARIABLE             an integration, whose routing key stands there\n\
                webhook:VARIABLE               any URL that takes JSON\n\
                file:PATH                      JSON lines";
    terminal.say(help)?;
    loop {
        let prompt = if known.tell.is_empty() { "receiver" } else { "another one" };
        let receiver = terminal.question(prompt, "none", help, &mut |text| match text {
            "none" => Ok(None),
            text => text.parse().map(Some),
        })?;
        match receiver {
            Some(receiver) if known.tell.contains(&receiver) => terminal.say("! that one is told already")?,
            Some(receiver) => known.tell.push(receiver),
            None => return Ok(()),
        }
    }
}
