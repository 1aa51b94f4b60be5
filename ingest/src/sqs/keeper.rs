//! The calls to SQS: one task receives from each queue, one extends and deletes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::desk::{Desk, Held, MessageId};
use crate::aws::{Call, explain};
use crate::committed::{Committed, Durable};
use crate::s3::persist;
use crate::source::SourceError;

/// Most messages in one call.
const BATCH: usize = 10;
/// Messages in work beyond which none are received: at thirty seconds between two lake commits this is 300 a second.
const MAX_IN_WORK: usize = 10_000;
/// Answers waiting to be looked into.
const ANSWERS: usize = 4;
/// Time between two looks at what is durable.
const LOOK: Duration = Duration::from_secs(1);

/// A queue and how it is read.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    /// Its URL.
    pub(crate) url: String,
    /// Time a call waits for a message.
    pub(crate) wait: Duration,
    /// Time a received message is hidden.
    pub(crate) visibility: Duration,
}

/// A message for the first time.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// The message.
    pub(crate) id: MessageId,
    /// What it says.
    pub(crate) body: String,
}

/// An answer of a queue.
pub(crate) type Mail = Result<Vec<Delivered>, SourceError>;

/// Queues that are being read.
#[derive(Debug)]
pub(crate) struct Queues {
    /// Messages in work.
    desk: Arc<Mutex<Desk>>,
    /// What was received.
    pub(crate) mail: mpsc::Receiver<Mail>,
    /// Ended when the queues are dropped.
    tasks: JoinSet<()>,
}

impl Queues {
    /// Starts to read.
    pub(crate) fn open(client: &Client, region: &str, queues: &[Queue], committed: &Arc<Committed>, handle: &Handle) -> Self {
        let desk = Arc::new(Mutex::new(Desk::default()));
        let (send, mail) = mpsc::channel(ANSWERS);
        let mut tasks = JoinSet::new();
        let lane = |(at, queue): (usize, &Queue)| {
            let (client, region, arn) = (client.clone(), region.to_owned(), arn_of(&queue.url, region));
            Lane { at, queue: queue.clone(), client, region, arn, desk: Arc::clone(&desk) }
        };
        let lanes: Vec<_> = queues.iter().enumerate().map(lane).collect();
        for lane in lanes.clone() {
            tasks.spawn_on(lane.receive(send.clone()), handle);
        }
        tasks.spawn_on(keep(lanes, Arc::clone(&desk), Arc::clone(committed)), handle);
        Self { desk, mail, tasks }
    }

    /// Returns how a task has ended that never ends by itself without saying so.
    pub(crate) fn panicked(&mut self) -> Option<JoinError> {
        self.tasks.try_join_next()?.err()
    }

    /// Returns the books.
    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One queue.
#[derive(Clone, Debug)]
struct Lane {
    at: usize,
    queue: Queue,
    client: Client,
    region: String,
    arn: String,
    desk: Arc<Mutex<Desk>>,
}

/// Returns the ARN of a queue, which its URL holds in parts: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`.
fn arn_of(url: &str, region: &str) -> String {
    let mut parts = url.rsplit('/');
    let (name, account) = (parts.next().unwrap_or("*"), parts.next().unwrap_or("*"));
    format!("arn:aws:sqs:{region}:{account}:{name}")
}

impl Lane {
    async fn receive(self, send: mpsc::Sender<Mail>) {
        loop {
            if lock(&self.desk).len() >= MAX_IN_WORK {
                sleep(LOOK).await;
                continue;
            }
            let mail = persist("ReceiveMessage", || self.try_receive()).await;
            let failed = mail.is_err();
            if matches!(&mail, Ok(mail) if mail.is_empty()) {
                // A queue that is not waited for is not asked without a pause either.
                if self.queue.wait.is_zero() {
                    sleep(LOOK / 5).await;
                }
                continue;
            }
            if send.send(mail).await.is_err() || failed {
                return;
            }
        }
    }

    async fn try_receive(&self) -> Mail {
        let call = self.client.receive_message().queue_url(&self.queue.url).max_number_of_messages(BATCH as i32);
        let call = call.wait_time_seconds(seconds(self.queue.wait)).visibility_timeout(seconds(self.queue.visibility));
        let answer = call.send().await.map_err(|error| explain(self.call("sqs:ReceiveMessage"), error))?;
        let mut mail = Vec::new();
        for message in answer.messages.unwrap_or_default() {
            let (Some(id), Some(receipt)) = (message.message_id, message.receipt_handle) else { continue };
            let id = MessageId { queue: self.at, id };
            if lock(&self.desk).take(id.clone(), receipt) {
                mail.push(Delivered { id, body: message.body.unwrap_or_default() });
            }
        }
        Ok(mail)
    }

    /// Keeps messages hidden. What fails is tried again at the next turn; in the worst case a message is delivered twice.
    async fn extend(&self, held: &[Held]) {
        let visibility = seconds(self.queue.visibility);
        for batch in held.chunks(BATCH) {
            let entries = batch.iter().enumerate().map(|(at, held)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(at.to_string()).receipt_handle(&held.receipt);
                entry.visibility_timeout(visibility).build()
            });
            let Ok(entries) = entries.collect() else { continue };
            let call = self.client.change_message_visibility_batch().queue_url(&self.queue.url).set_entries(Some(entries));
            match call.send().await {
                Ok(answer) => answer.failed().iter().for_each(|failed| {
                    tracing::warn!(queue = self.queue.url, code = failed.code(), "a message could not be kept hidden and will come again");
                }),
                Err(error) => {
                    let error = explain(self.call("sqs:ChangeMessageVisibility"), error);
                    tracing::warn!(%error, "messages could not be kept hidden and will come again");
                }
            }
        }
    }

    /// Deletes messages; what fails is tried again, or comes again and is deleted then.
    async fn delete(&self, held: &[Held]) {
        for batch in held.chunks(BATCH) {
            let entries = batch
                .iter()
                .enumerate()
                .map(|(at, held)| DeleteMessageBatchRequestEntry::builder().id(at.to_string()).receipt_handle(&held.receipt).build());
            let Ok(entries) = entries.collect() else { continue };
            let call = self.client.delete_message_batch().queue_url(&self.queue.url).set_entries(Some(entries));
            let answer = match call.send().await {
                Ok(answer) => answer,
                Err(error) => {
                    let error = explain(self.call("sqs:DeleteMessage"), error);
                    tracing::warn!(%error, "messages could not be deleted: it is tried again");
                    return;
                }
            };
            let trouble = answer.failed().iter().filter(|failed| !failed.sender_fault());
            let again: Vec<_> = trouble.map(|failed| failed.id().to_owned()).collect();
            for failed in answer.failed().iter().filter(|failed| failed.sender_fault()) {
                tracing::warn!(queue = self.queue.url, code = failed.code(), "a message could not be deleted and will come again");
            }
            let mut desk = lock(&self.desk);
            for (at, held) in batch.iter().enumerate() {
                if !again.contains(&at.to_string()) {
                    desk.drop_message(&held.id);
                }
            }
        }
    }

    fn call<'a>(&'a self, action: &'a str) -> Call<'a> {
        Call { resource: &self.queue.url, action, arn: &self.arn, region: &self.region }
    }
}

/// Extends and deletes until it is dropped.
async fn keep(lanes: Vec<Lane>, desk: Arc<Mutex<Desk>>, committed: Arc<Committed>) {
    let turn = lanes.iter().map(|lane| lane.queue.visibility).min().unwrap_or(LOOK) / 3;
    let mut ticks = interval(LOOK.min(turn));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut extended = Instant::now();
    loop {
        ticks.tick().await;
        let done = {
            let mut desk = lock(&desk);
            desk.settle(|shard| committed.of(Durable::Lake, shard));
            desk.finished()
        };
        for (at, held) in by_queue(done) {
            lanes[at].delete(&held).await;
        }
        if extended.elapsed() >= turn {
            extended = Instant::now();
            let held = lock(&desk).held();
            for (at, held) in by_queue(held) {
                lanes[at].extend(&held).await;
            }
        }
    }
}

fn by_queue(held: Vec<Held>) -> HashMap<usize, Vec<Held>> {
    let mut queues: HashMap<usize, Vec<Held>> = HashMap::new();
    for held in held {
        queues.entry(held.id.queue).or_default().push(held);
    }
    queues
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::arn_of;

    #[test]
    fn the_arn_of_a_queue_is_in_its_url() {
        let arn = arn_of("https://sqs.eu-central-1.amazonaws.com/111122223333/logs", "eu-central-1");
        assert_eq!(arn, "arn:aws:sqs:eu-central-1:111122223333:logs");
    }
}
