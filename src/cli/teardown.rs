//! `sluice teardown`: every hold released, every lever lifted, and a look that not one stop is left.

use std::process::ExitCode;
use std::time::{Duration, Instant};

#[cfg(feature = "aws")]
use anyhow::Context;
use serde_json::Value;
use sluice_schemas::visible::escape;

use super::args::TeardownArgs;
use super::hold::{lasts, order_by};
use crate::config::Config;
use crate::control::{self, Request};
use crate::output;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn run(args: &TeardownArgs) -> anyhow::Result<ExitCode> {
    let patience = Duration::from_micros(u64::try_from(lasts(Some(&args.wait))?.unwrap_or_default()).unwrap_or_default());
    let (actor, reason) = (args.reason.actor.clone(), args.reason.reason.clone());
    let config = Config::load(&args.place.origin())?;
    let has_daemon = control::connect(&config.socket)?.is_some();
    // Nothing new is pulled while the rest is lifted.
    order_by(&config, &Request::SetStopped { stopped: true, actor: actor.clone(), reason: reason.clone() })?;
    let released = order_by(&config, &Request::ReleaseAll { actor, reason })?;
    output::line(&format!("released {} holds; no lever is pulled any more", released["released"]));
    let begun = Instant::now();
    let mut lifter = if has_daemon { None } else { Lifter::open(&config)? };
    let mut left = left(&config)?;
    while !left.is_empty() && begun.elapsed() < patience {
        match &mut lifter {
            Some(lifter) => lifter.lift()?,
            None => std::thread::sleep(LOOK),
        }
        left = self::left(&config)?;
    }
    for lever in &left {
        let trouble = lever["trouble"].as_str().unwrap_or("not lifted yet");
        output::line(&format!("left: {} on {}: {}", lever["lever"], escape(&lever["subject"].to_string()), escape(trouble)));
    }
    let strays = strays(&config)?;
    for stray in &strays {
        output::line(&format!("left: the deny policy is attached to {}, not by this installation: detach it by hand", escape(stray)));
    }
    if left.is_empty() && strays.is_empty() {
        output::line("not one stop is left");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(super::EXIT_FOUND))
}

/// Returns the intents of which something may be left.
fn left(config: &Config) -> anyhow::Result<Vec<Value>> {
    let answer = order_by(config, &Request::Levers)?;
    Ok(answer["levers"].as_array().cloned().unwrap_or_default())
}

/// Lifts levers where no daemon runs.
#[cfg(feature = "aws")]
struct Lifter {
    reconciler: sluice_enforce::reconcile::Reconciler,
}

#[cfg(feature = "aws")]
impl Lifter {
    fn open(config: &Config) -> anyhow::Result<Option<Self>> {
        use std::sync::Arc;

        use sluice_schemas::{Clock, SystemClock};
        if config.enforce.levers.is_empty() {
            return Ok(None);
        }
        let (store, clock) = (config.shared.open()?, Arc::new(SystemClock));
        let fence = store.take_fence("teardown", clock.now())?;
        let reconciler = crate::enforcement::open(config, store, clock, fence).context("levers")?.reconciler;
        Ok(Some(Self { reconciler }))
    }

    fn lift(&mut self) -> anyhow::Result<()> {
        let turn = self.reconciler.turn(&|| true)?;
        for event in turn.events {
            let lever = event.lever.map_or("levers", |lever| lever.as_str());
            output::line(&format!("{lever} {} {} {}", event.what.as_str(), escape(&event.subject), escape(&event.detail)));
        }
        std::thread::sleep(LOOK);
        Ok(())
    }
}

/// Nothing can be lifted without calling AWS.
#[cfg(not(feature = "aws"))]
struct Lifter;

#[cfg(not(feature = "aws"))]
impl Lifter {
    #[expect(clippy::unnecessary_wraps, reason = "a build with the AWS clients may fail here")]
    fn open(_config: &Config) -> anyhow::Result<Option<Self>> {
        Ok(None)
    }

    #[expect(clippy::unnecessary_wraps, reason = "a build with the AWS clients may fail here")]
    fn lift(&mut self) -> anyhow::Result<()> {
        std::thread::sleep(LOOK);
        Ok(())
    }
}

/// Returns whom the deny policy is attached to although no lever of this installation did it.
#[cfg(feature = "aws")]
fn strays(config: &Config) -> anyhow::Result<Vec<String>> {
    crate::enforcement::attached(&config.enforce).context("ask IAM whom the deny policy is attached to")
}

/// Nobody can be asked.
#[cfg(not(feature = "aws"))]
#[expect(clippy::unnecessary_wraps, reason = "a build with the AWS clients may fail here")]
fn strays(_config: &Config) -> anyhow::Result<Vec<String>> {
    Ok(Vec::new())
}
