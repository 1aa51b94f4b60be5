//! What is happening now: spend by agent and session, for `top`, `demo` and the summary of a replay.
//!
//! Owns: running sums and burn rates in memory. Does not own: budgets or history; those are asked of the ledger and the lake.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use sluice_schemas::time::{SECOND, format_day};
use sluice_schemas::{AgentStatus, Micros, PicoUsd, SpendDelta, SpendView};

use crate::view::{AgentRow, BudgetRow, EventRow, HoldRow, Level, SessionRow, Snapshot, Totals};

/// Sessions kept; beyond them the ones silent for longest leave the view (their spend stays in every sum).
const SESSIONS_MAX: usize = 100_000;
/// Sessions a snapshot carries.
const SESSIONS_SHOWN: usize = 200;
const EVENTS_MAX: usize = 50;
const SLOTS: usize = 12;
const SLOT: i64 = 5 * SECOND;

/// Spend of the last minute in slots of five seconds of arrival time.
#[derive(Clone, Debug, Default)]
struct Burn {
    slots: [PicoUsd; SLOTS],
    newest: i64,
}

impl Burn {
    fn add(&mut self, now: Micros, amount: PicoUsd) {
        self.turn(now);
        self.slots[slot_of(now)] += amount;
    }

    fn turn(&mut self, now: Micros) {
        let current = now.0.div_euclid(SLOT);
        if self.newest == 0 || current - self.newest >= SLOTS as i64 {
            self.slots = [PicoUsd::ZERO; SLOTS];
        } else {
            for passed in self.newest + 1..=current {
                self.slots[usize::try_from(passed.rem_euclid(SLOTS as i64)).unwrap_or(0)] = PicoUsd::ZERO;
            }
        }
        self.newest = self.newest.max(current);
    }

    /// Cost an hour at the pace of the last minute, or of the time since `started` if that is shorter.
    fn per_hour(&mut self, now: Micros, started: Micros) -> PicoUsd {
        self.turn(now);
        let sum: PicoUsd = self.slots.iter().copied().sum();
        let seconds = ((now.0 - started.0) / SECOND).clamp(1, 60);
        PicoUsd(sum.0 * 3_600 / i128::from(seconds))
    }
}

fn slot_of(now: Micros) -> usize {
    usize::try_from(now.0.div_euclid(SLOT).rem_euclid(SLOTS as i64)).unwrap_or(0)
}

#[derive(Clone, Debug, Default)]
struct Agent {
    row: AgentRow,
    sessions: HashSet<u64, FixedState>,
    burn: Burn,
}

/// What calls of one profile spent in a batch.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    calls: u64,
    unpriced: u64,
    cost: PicoUsd,
    tokens: u64,
    last_event: Micros,
}

/// Which calls the sums hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cover {
    /// Those that were read since the start.
    #[default]
    Run,
    /// Those of one UTC date: that of the newest call.
    Day(i32),
}

impl Cover {
    fn holds(self, delta: &SpendDelta) -> bool {
        match self {
            Self::Run => true,
            Self::Day(day) => delta.minute.day() == day,
        }
    }
}

/// Adds deltas up by profile, so that names are looked up once for each.
fn by_profile(deltas: &[SpendDelta], cover: Cover) -> impl Iterator<Item = (u32, Spent)> {
    let mut sums: Vec<Spent> = Vec::new();
    for delta in deltas.iter().filter(|delta| cover.holds(delta)) {
        let at = delta.profile as usize;
        if sums.len() <= at {
            sums.resize(at + 1, Spent::default());
        }
        let spent = &mut sums[at];
        spent.calls += delta.sums.calls;
        spent.unpriced += delta.sums.unpriced;
        spent.cost += delta.sums.cost;
        spent.tokens += delta.sums.usage.prompt() + delta.sums.usage.output;
        spent.last_event = spent.last_event.max(delta.last_event);
    }
    (0_u32..).zip(sums).filter(|(_, spent)| spent.calls > 0)
}

/// Counts of records by what became of them (invariant C1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Counts {
    /// Records read.
    pub(crate) records: u64,
    /// New calls.
    pub(crate) facts: u64,
    /// Calls delivered again.
    pub(crate) duplicates: u64,
    /// Records that could not be read.
    pub(crate) rejected: u64,
    /// CloudTrail events.
    pub(crate) trail: u64,
    /// Control messages.
    pub(crate) control: u64,
    /// New calls without a price.
    pub(crate) unpriced: u64,
    /// New calls that claimed another's agent.
    pub(crate) spoofed: u64,
    /// New calls behind the watermark.
    pub(crate) late: u64,
    /// Decompressed bytes read.
    pub(crate) bytes_in: u64,
    /// Cost of the new calls.
    pub(crate) cost: PicoUsd,
    /// Calls that late evidence moved to another owner.
    pub(crate) moved: u64,
    /// Calls metered from CloudTrail that the log brought after all; they are among `facts` twice.
    pub(crate) replaced: u64,
}

impl Counts {
    /// Adds other counts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.facts += other.facts;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
        self.trail += other.trail;
        self.control += other.control;
        self.unpriced += other.unpriced;
        self.spoofed += other.spoofed;
        self.late += other.late;
        self.bytes_in += other.bytes_in;
        self.cost += other.cost;
        self.moved += other.moved;
        self.replaced += other.replaced;
    }

    /// Tells whether every record became exactly one thing.
    pub(crate) const fn balanced(&self) -> bool {
        self.records == self.facts + self.duplicates + self.rejected + self.trail + self.control
    }
}

/// Sums over all agents.
#[derive(Clone, Copy, Debug, Default)]
struct Whole {
    calls: u64,
    unpriced: u64,
    spoofed: u64,
    cost: PicoUsd,
}

/// Running sums.
#[derive(Debug, Default)]
pub(crate) struct Live {
    started: Micros,
    cover: Cover,
    whole: Whole,
    agents: HashMap<String, Agent, FixedState>,
    sessions: HashMap<(String, String), SessionRow, FixedState>,
    events: VecDeque<EventRow>,
    rate: VecDeque<(Micros, u64)>,
    lag_ms: u64,
}

impl Live {
    /// Creates an empty view.
    pub(crate) fn new(started: Micros) -> Self {
        Self { started, ..Self::default() }
    }

    /// From here on the sums hold the calls of one UTC date, that of the newest call: of `day`, until a later one comes.
    pub(crate) fn cover_day(&mut self, day: i32) {
        self.cover = Cover::Day(day);
        self.whole = Whole::default();
        self.agents.clear();
        self.sessions.clear();
    }

    /// Adds spend that was committed before this process began.
    pub(crate) fn seed(&mut self, view: SpendView<'_>) {
        self.turn_to_newest(view);
        self.add(view);
    }

    /// A later date begins with its first call.
    fn turn_to_newest(&mut self, view: SpendView<'_>) {
        let newest = view.deltas.iter().map(|delta| delta.minute.day()).max();
        if let (Cover::Day(day), Some(newest)) = (self.cover, newest)
            && newest > day
        {
            self.cover_day(newest);
        }
    }

    /// Adds spend that was committed.
    pub(crate) fn fold(&mut self, view: SpendView<'_>, now: Micros) {
        self.turn_to_newest(view);
        for (agent_id, cost) in self.add(view) {
            if let Some(agent) = self.agents.get_mut(agent_id) {
                agent.burn.add(now, cost);
            }
        }
        self.prune();
    }

    /// Adds spend; returns what each agent spent.
    fn add<'a>(&mut self, view: SpendView<'a>) -> Vec<(&'a str, PicoUsd)> {
        let strings = &view.batch.batch.strings;
        let mut costs = Vec::new();
        for (profile, spent) in by_profile(view.deltas, self.cover) {
            let Some(owner) = view.batch.owners.get(profile as usize) else { continue };
            self.whole.calls += spent.calls;
            self.whole.unpriced += spent.unpriced;
            self.whole.spoofed += if owner.agent_status == AgentStatus::Spoofed { spent.calls } else { 0 };
            self.whole.cost += spent.cost;
            let (agent_id, session_id) = (strings.get(owner.agent_id), strings.get(owner.session_id));
            let agent = self.agents.entry_ref(agent_id).or_default();
            if agent.row.agent_id.is_empty() {
                agent_id.clone_into(&mut agent.row.agent_id);
            }
            agent.row.status = owner.agent_status;
            if !owner.team.is_empty() && agent.row.team != strings.get(owner.team) {
                strings.get(owner.team).clone_into(&mut agent.row.team);
            }
            agent.row.calls += spent.calls;
            agent.row.cost += spent.cost;
            agent.row.tokens += spent.tokens;
            agent.row.last_event = agent.row.last_event.max(spent.last_event);
            costs.push((agent_id, spent.cost));
            if session_id.is_empty() {
                continue;
            }
            agent.sessions.insert(std::hash::BuildHasher::hash_one(&FixedState::default(), session_id));
            let row = self.sessions.entry((agent_id.to_owned(), session_id.to_owned())).or_default();
            if row.session_id.is_empty() {
                session_id.clone_into(&mut row.session_id);
                agent_id.clone_into(&mut row.agent_id);
            }
            row.calls += spent.calls;
            row.cost += spent.cost;
            row.last_event = row.last_event.max(spent.last_event);
        }
        costs
    }

    /// Lets calls that were counted before follow a correction: what they were is taken off, what they are now is added. Calls of
    /// before the start are in no sum of a run, nor is what becomes of them.
    pub(crate) fn correct(&mut self, before: SpendView<'_>, after: SpendView<'_>) {
        let corrected: u64 = by_profile(before.deltas, self.cover).map(|(_, spent)| spent.calls).sum();
        if self.cover == Cover::Run && corrected > self.whole.calls {
            return;
        }
        self.take_off(before);
        self.add(after);
        self.prune();
    }

    fn take_off(&mut self, view: SpendView<'_>) {
        let strings = &view.batch.batch.strings;
        for (profile, spent) in by_profile(view.deltas, self.cover) {
            let Some(owner) = view.batch.owners.get(profile as usize) else { continue };
            self.whole.calls = self.whole.calls.saturating_sub(spent.calls);
            self.whole.unpriced = self.whole.unpriced.saturating_sub(spent.unpriced);
            let spoofed = if owner.agent_status == AgentStatus::Spoofed { spent.calls } else { 0 };
            self.whole.spoofed = self.whole.spoofed.saturating_sub(spoofed);
            self.whole.cost -= spent.cost;
            let (agent_id, session_id) = (strings.get(owner.agent_id), strings.get(owner.session_id));
            let session = (agent_id.to_owned(), session_id.to_owned());
            let mut gone = false;
            if let Some(row) = self.sessions.get_mut(&session) {
                row.calls = row.calls.saturating_sub(spent.calls);
                row.cost -= spent.cost;
                gone = row.calls == 0;
            }
            if gone {
                self.sessions.remove(&session);
            }
            let Some(agent) = self.agents.get_mut(agent_id) else { continue };
            if gone {
                agent.sessions.remove(&std::hash::BuildHasher::hash_one(&FixedState::default(), session_id));
            }
            agent.row.calls = agent.row.calls.saturating_sub(spent.calls);
            agent.row.cost -= spent.cost;
            agent.row.tokens = agent.row.tokens.saturating_sub(spent.tokens);
            if agent.row.calls == 0 {
                self.agents.remove(agent_id);
            }
        }
    }

    fn prune(&mut self) {
        if self.sessions.len() <= SESSIONS_MAX {
            return;
        }
        let mut times: Vec<Micros> = self.sessions.values().map(|row| row.last_event).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        self.sessions.retain(|_, row| row.last_event > median);
    }

    /// Notes how many records came now and how old their bytes were.
    pub(crate) fn arrived(&mut self, now: Micros, records: u64, lag_ms: u64) {
        self.rate.push_back((now, records));
        while self.rate.front().is_some_and(|(at, _)| now.0 - at.0 > 5 * SECOND) {
            self.rate.pop_front();
        }
        if records > 0 {
            self.lag_ms = lag_ms;
        }
    }

    /// Adds a line to the event strip.
    pub(crate) fn event(&mut self, at: Micros, level: Level, text: String) {
        self.events.push_back(EventRow { at, level, text });
        while self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    /// Returns what a person sees now.
    pub(crate) fn snapshot(&mut self, now: Micros, counts: &Counts, budgets: Vec<BudgetRow>, holds: Vec<HoldRow>) -> Snapshot {
        let started = self.started;
        let mut agents = Vec::with_capacity(self.agents.len());
        for agent in self.agents.values_mut() {
            agent.row.sessions = agent.sessions.len() as u64;
            agent.row.burn_per_hour = agent.burn.per_hour(now, started);
            agents.push(agent.row.clone());
        }
        let mut sessions: Vec<&SessionRow> = self.sessions.values().collect();
        let dearest = |a: &&SessionRow, b: &&SessionRow| b.cost.cmp(&a.cost).then_with(|| a.session_id.cmp(&b.session_id));
        if sessions.len() > SESSIONS_SHOWN {
            sessions.select_nth_unstable_by(SESSIONS_SHOWN, dearest);
            sessions.truncate(SESSIONS_SHOWN);
        }
        sessions.sort_by(dearest);
        let sessions = sessions.into_iter().cloned().collect();
        let recent: u64 = self.rate.iter().filter(|(at, _)| now.0 - at.0 <= 5 * SECOND).map(|(_, records)| records).sum();
        let totals = Totals {
            records: counts.records,
            facts: self.whole.calls,
            duplicates: counts.duplicates,
            rejected: counts.rejected,
            unpriced: self.whole.unpriced,
            spoofed: self.whole.spoofed,
            late: counts.late,
            cost: self.whole.cost,
            lag_ms: self.lag_ms,
            events_per_s: recent / 5,
        };
        let day = match self.cover {
            Cover::Day(day) if self.whole.calls > 0 => Some(format_day(day)),
            Cover::Run | Cover::Day(_) => None,
        };
        Snapshot { at: now, started, day, totals, agents, sessions, budgets, holds, events: self.events.iter().cloned().collect() }
    }

    /// Returns how many agents and sessions it holds.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.agents.len(), self.sessions.len())
    }

    /// Returns agents by falling cost.
    pub(crate) fn ranking(&self) -> Vec<AgentRow> {
        let mut rows: Vec<AgentRow> =
            self.agents.values().map(|agent| AgentRow { sessions: agent.sessions.len() as u64, ..agent.row.clone() }).collect();
        rows.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.agent_id.cmp(&b.agent_id)));
        rows
    }
}
