//! Those who are told of breaches and of what becomes of holds, as the configuration names them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sluice_enforce::actions::{EventBridge, FileAction, Filtered, LogAction, PagerDuty, Slack, Sns, WebhookAction};
use sluice_enforce::aws::Aws;
use sluice_enforce::notice::{Filter, Receiver};

use crate::config::{Config, NotifyTo};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns everyone who is told of breaches and holds; `aws` makes the calls of those that are services of AWS.
///
/// # Errors
/// A secret cannot be read, a receiver is named twice, or a service of AWS cannot be called.
pub(super) fn receivers(config: &Config, aws: Option<&Arc<dyn Aws>>) -> anyhow::Result<Vec<Arc<dyn Receiver>>> {
    let mut all: Vec<Arc<dyn Receiver>> = vec![Arc::new(LogAction)];
    if let Some(url) = &config.webhook {
        all.push(Arc::new(WebhookAction::new(url, TIMEOUT).context("enforce.webhook")?));
    }
    for (number, notify) in config.notify.iter().enumerate() {
        let receiver = receiver(&notify.to, aws).with_context(|| format!("notify {}", number + 1))?;
        all.push(if notify.filter == Filter::default() { receiver } else { Arc::new(Filtered::new(receiver, notify.filter.clone())) });
    }
    let mut names = BTreeSet::new();
    for receiver in &all {
        anyhow::ensure!(names.insert(receiver.name()), "{} is named twice: receipts are kept by receiver", receiver.name());
    }
    Ok(all)
}

fn receiver(to: &NotifyTo, aws: Option<&Arc<dyn Aws>>) -> anyhow::Result<Arc<dyn Receiver>> {
    let calls = || aws.map(Arc::clone).context("this build cannot call AWS: build it with --features aws");
    Ok(match to {
        NotifyTo::Sns(settings) => Arc::new(Sns::new(calls()?, settings)?),
        NotifyTo::EventBridge(settings) => Arc::new(EventBridge::new(calls()?, settings)),
        NotifyTo::Slack(url) => Arc::new(Slack::new(&url.read()?, TIMEOUT)?),
        NotifyTo::PagerDuty(url, key) => Arc::new(PagerDuty::new(url, &key.read()?, TIMEOUT)?),
        NotifyTo::Webhook(url) => Arc::new(WebhookAction::new(&url.read()?, TIMEOUT)?),
        NotifyTo::File(path) => Arc::new(FileAction::new(path)),
    })
}
