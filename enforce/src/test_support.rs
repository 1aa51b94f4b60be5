//! Builds spend for tests.

use std::sync::Arc;

use sluice_schemas::time::MINUTE;
use sluice_schemas::{EnrichedBatch, Micros, Owner, PicoUsd, Profile, SpendDelta, SpendView, Sums, Sym, Usage};

use crate::config::Budgets;
use crate::fire::Crossing;
use crate::ledger::Ledger;
use crate::limits::NoLimits;

/// Spend of one kind of call in one minute.
#[derive(Clone, Debug)]
pub(crate) struct Spend {
    pub(crate) agent: String,
    pub(crate) session: String,
    pub(crate) minute: i64,
    pub(crate) micro_usd: i64,
    pub(crate) calls: u64,
    pub(crate) unpriced: u64,
    pub(crate) tokens: u64,
    pub(crate) tags: Vec<(String, String)>,
    /// As the log has it; empty for none.
    pub(crate) principal: String,
    pub(crate) model: String,
    pub(crate) team: String,
}

impl Spend {
    /// One priced call of an agent.
    pub(crate) fn new(agent: &str, minute: i64, micro_usd: i64) -> Self {
        let session = String::new();
        Self {
            agent: agent.to_owned(),
            session,
            minute,
            micro_usd,
            calls: 1,
            unpriced: 0,
            tokens: 0,
            tags: Vec::new(),
            principal: String::new(),
            model: String::new(),
            team: String::new(),
        }
    }

    pub(crate) fn in_session(self, session: &str) -> Self {
        Self { session: session.to_owned(), ..self }
    }

    /// So many calls.
    pub(crate) fn calls(self, calls: u64) -> Self {
        Self { calls, ..self }
    }

    /// Made as a role or user.
    pub(crate) fn by(self, principal: &str) -> Self {
        Self { principal: principal.to_owned(), ..self }
    }

    /// Through an inference profile.
    pub(crate) fn through(self, model: &str) -> Self {
        Self { model: model.to_owned(), ..self }
    }

    pub(crate) fn tagged(mut self, key: &str, value: &str) -> Self {
        self.tags.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn unpriced(self, tokens: u64) -> Self {
        Self { micro_usd: 0, unpriced: 1, tokens, ..self }
    }
}

/// A batch with its deltas.
pub(crate) struct Feed {
    pub(crate) batch: EnrichedBatch,
    pub(crate) deltas: Vec<SpendDelta>,
}

impl Feed {
    /// Makes one delta of each spend, in the given order.
    pub(crate) fn of<'a>(spends: impl IntoIterator<Item = &'a Spend>) -> Self {
        let mut feed = Self { batch: EnrichedBatch::default(), deltas: Vec::new() };
        for spend in spends {
            feed.push(spend);
        }
        feed
    }

    fn push(&mut self, spend: &Spend) {
        let strings = &mut self.batch.batch.strings;
        let profile = Profile {
            account_id: strings.intern("111122223333"),
            region: strings.intern("us-east-1"),
            principal_arn: strings.intern(&spend.principal),
            model_id: strings.intern(&spend.model),
            ..Profile::default()
        };
        let assumed = spend.principal.split_once(":assumed-role/").and_then(|(_, rest)| rest.split_once('/')).unwrap_or_default();
        let mut tags: Vec<(Sym, Sym)> = spend.tags.iter().map(|(key, value)| (strings.intern(key), strings.intern(value))).collect();
        tags.sort_unstable();
        let owner = Owner {
            agent_id: strings.intern(&spend.agent),
            session_id: strings.intern(&spend.session),
            role: strings.intern(assumed.0),
            role_session_name: strings.intern(assumed.1),
            team: strings.intern(&spend.team),
            tags,
            ..Owner::default()
        };
        let model = strings.intern("anthropic.claude-sonnet-4-5");
        let at = self.batch.batch.profiles.len() as u32;
        self.batch.batch.profiles.push(profile);
        self.batch.owners.push(owner);
        let cost = PicoUsd(i128::from(spend.micro_usd) * 1_000_000);
        let sums = Sums {
            calls: spend.calls,
            unpriced: spend.unpriced,
            usage: Usage { input: spend.tokens, ..Usage::default() },
            cost,
            cost_max: cost,
            ..Sums::default()
        };
        let minute = Micros(spend.minute * MINUTE);
        self.deltas.push(SpendDelta { minute, last_event: minute.plus(30_000_000), profile: at, model, scope: Sym::EMPTY, sums });
    }

    pub(crate) fn view(&self) -> SpendView<'_> {
        SpendView { batch: &self.batch, deltas: &self.deltas }
    }
}

/// Budgets that are known to be right.
pub(crate) fn budgets(toml: &str) -> Arc<Budgets> {
    Arc::new(Budgets::parse(toml).unwrap_or_else(|error| panic!("{error}")))
}

/// An empty ledger.
pub(crate) fn ledger(toml: &str) -> Ledger {
    Ledger::new(budgets(toml), Arc::new(NoLimits))
}

/// Applies spends in one batch, at the time of the last of them.
pub(crate) fn apply(ledger: &mut Ledger, spends: &[Spend]) -> Vec<Crossing> {
    let now = spends.iter().map(|spend| spend.minute).max().unwrap_or_default();
    ledger.apply(Feed::of(spends).view(), Micros((now + 1) * MINUTE))
}
