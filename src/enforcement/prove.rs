//! Both ends of the proof of an order's giver: who orders signs, who carries out asks STS.
//!
//! Owns: the thread that asks, so that nobody waits for STS but the order. Does not own: what a proof is and what STS's answer means
//! (`sluice_enforce::proof`).

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded};
use sluice_enforce::aws::{CallError, Reply};
use sluice_enforce::iam::caller_arn;
use sluice_enforce::proof::{Proof, ProofError, Verdict, question, to_sign, verdict};
use sluice_enforce::store::Command;
use sluice_schemas::{Clock, SystemClock};

use super::EnforceConfig;
use super::aws::Caller;

/// Orders that wait for the thread; more are left in the table for a later look.
const QUEUE: usize = 64;

/// Who gives an order.
pub(crate) struct Giver {
    /// ARN of the credentials, as STS tells it.
    pub(crate) arn: String,
    caller: Caller,
}

impl Giver {
    /// Asks AWS who runs this command.
    ///
    /// # Errors
    /// AWS cannot be asked.
    pub(crate) fn open(config: &EnforceConfig) -> anyhow::Result<Self> {
        let caller = super::open::caller_as(config, None, Arc::new(SystemClock))?;
        Ok(Self { arn: caller_arn(&caller)?, caller })
    }

    /// Returns the proof, as JSON, that this giver gives the order of a binding.
    ///
    /// # Errors
    /// There are no credentials, or no region.
    pub(crate) fn prove(&self, binding: &str) -> anyhow::Result<String> {
        let region = self.caller.region().context("no region is configured: set [enforce] region")?;
        let signed = self.caller.sign(&question(region, to_sign(binding)))?;
        let proof = Proof::of_headers(&signed).context("the signature has other headers than those of version 4")?;
        Ok(serde_json::to_string(&proof)?)
    }
}

/// Whoever knows STS.
pub(crate) trait Witness: Send {
    /// Region whose STS is asked.
    fn region(&self) -> &str;

    /// Shows a proof of the order with a binding.
    ///
    /// # Errors
    /// See [`CallError`].
    fn ask(&self, proof: &Proof, binding: &str) -> Result<Reply, CallError>;
}

/// STS at the address of the configuration, or of its region: no word of an order leads elsewhere.
struct Sts {
    caller: Caller,
    region: String,
}

impl Witness for Sts {
    fn region(&self) -> &str {
        &self.region
    }

    fn ask(&self, proof: &Proof, binding: &str) -> Result<Reply, CallError> {
        self.caller.forward(&question(&self.region, proof.headers(binding)))
    }
}

/// Finds the witness once there is an order.
type Find = Box<dyn Fn() -> anyhow::Result<Box<dyn Witness>> + Send>;

/// The thread that asks who gave an order.
pub(crate) struct Prover {
    orders: Option<Sender<Command>>,
    verdicts: Receiver<(Command, Verdict)>,
    thread: Option<JoinHandle<()>>,
}

impl Prover {
    /// Starts the thread for the orders of a table.
    ///
    /// # Errors
    /// There are no threads left.
    pub(crate) fn start(config: &EnforceConfig, table: &str, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let (config, own) = (config.clone(), Arc::clone(&clock));
        let find = move || -> anyhow::Result<Box<dyn Witness>> {
            let caller = super::open::caller_as(&config, None, Arc::clone(&own))?;
            let region = caller.region().context("no region is configured: set [enforce] region")?.to_owned();
            Ok(Box::new(Sts { caller, region }))
        };
        Self::with(Box::new(find), table, clock)
    }

    fn with(find: Find, table: &str, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let (orders, given) = bounded::<Command>(QUEUE);
        // As many places as there can be answers under way, so that the thread never waits for whoever reads them.
        let (tell, verdicts) = bounded(QUEUE * 2 + 1);
        let table = table.to_owned();
        let run = move || {
            let mut witness = None;
            for order in given {
                let verdict = judge(&mut witness, &find, &order, &table, &*clock);
                if tell.send((order, verdict)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("prover".to_owned()).spawn(run).context("start the thread that asks who ordered")?;
        Ok(Self { orders: Some(orders), verdicts, thread: Some(thread) })
    }

    /// Hands an order to the thread; `false` if there is no room now.
    pub(crate) fn ask(&self, order: Command) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok())
    }

    /// Returns the orders that were looked into since the last call.
    pub(crate) fn verdicts(&self) -> Vec<(Command, Verdict)> {
        self.verdicts.try_iter().collect()
    }
}

impl Drop for Prover {
    fn drop(&mut self) {
        self.orders = None;
        // It may be within a call; what it finds is nobody's any more, and the next process asks again.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished)
            && thread.join().is_err()
        {
            tracing::error!("the thread that asks who ordered panicked");
        }
    }
}

fn judge(witness: &mut Option<Box<dyn Witness>>, find: &Find, order: &Command, table: &str, clock: &dyn Clock) -> Verdict {
    let witness = match witness {
        Some(witness) => witness,
        None => match find() {
            Ok(found) => witness.insert(found),
            Err(error) => return Verdict::Waits(format!("STS cannot be asked who gave it: {error:#}")),
        },
    };
    match order.proof(witness.region(), clock.now()) {
        Ok(proof) => verdict(witness.ask(&proof, &order.binding(table))),
        Err(error @ ProofError::Ahead { .. }) => Verdict::Waits(error.to_string()),
        Err(error) => Verdict::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
