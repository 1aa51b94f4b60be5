//! The last half minute of spend of each agent, as a row of little bars.

use std::collections::{BTreeMap, VecDeque};

use sluice_schemas::time::SECOND;
use sluice_schemas::{Micros, PicoUsd};

use super::Snapshot;

/// Samples kept for each agent, one every [`EVERY`].
const SAMPLES: usize = 24;
/// Microseconds between two samples.
const EVERY: i64 = 2 * SECOND;

/// Cost of each agent at the last sampling moments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trends {
    sampled: Micros,
    costs: BTreeMap<String, VecDeque<PicoUsd>>,
}

impl Trends {
    /// Takes a sample when one is due; agents that are gone are forgotten.
    pub(crate) fn observe(&mut self, snapshot: &Snapshot) {
        if snapshot.at.0 - self.sampled.0 < EVERY {
            return;
        }
        self.sampled = snapshot.at;
        let mut costs = BTreeMap::new();
        for agent in &snapshot.agents {
            let mut samples = self.costs.remove(&agent.agent_id).unwrap_or_default();
            samples.push_back(agent.cost);
            if samples.len() > SAMPLES + 1 {
                samples.pop_front();
            }
            costs.insert(agent.agent_id.clone(), samples);
        }
        self.costs = costs;
    }

    /// Returns the spend between samples of an agent as bars, the newest last, on one scale for all agents.
    pub(crate) fn bars(&self, agent_id: &str, columns: usize) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let top = self.costs.values().flat_map(steps).max().unwrap_or_default().0;
        let Some(samples) = self.costs.get(agent_id).filter(|_| top > 0) else { return String::new() };
        let steps: Vec<PicoUsd> = steps(samples).collect();
        let shown = &steps[steps.len().saturating_sub(columns)..];
        shown.iter().map(|step| if step.0 <= 0 { ' ' } else { BARS[usize::try_from((step.0 * 8 - 1) / top).unwrap_or(7).min(7)] }).collect()
    }
}

fn steps(samples: &VecDeque<PicoUsd>) -> impl Iterator<Item = PicoUsd> + '_ {
    samples.iter().zip(samples.iter().skip(1)).map(|(before, after)| *after - *before)
}
