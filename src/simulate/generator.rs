//! The stream of calls: who is next, how many tokens, which form the record takes. Pure: time comes as an argument.

use std::sync::Arc;

use sluice_schemas::usage::GuardrailUnits;
use sluice_schemas::{CostBasis, Micros, ServiceTier, Usage};

use super::call::{Call, Delivery, Guard, TruthCall, logged};
use super::cast::{Caching, Cast, Session};
use super::models::{Family, inference_region};
use super::random::Random;
use super::record::{Ink, write};
use super::text::Filler;
use super::{Plan, Shape};

/// Largest context a runaway reaches.
const RUNAWAY_CONTEXT: u64 = 190_000;

/// An endless stream of records, the same for the same plan.
pub(crate) struct Generator {
    random: Random,
    filler: Filler,
    cast: Cast,
    shape: Shape,
    runaway: Option<(usize, Micros)>,
    offloaded: Option<(String, Vec<u8>)>,
}

impl Generator {
    /// Starts the stream of a plan, which must have been checked.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut random = Random::new(plan.seed);
        let cast = Cast::of(plan, &mut random);
        let from = plan.start.plus(plan.span_micros / 2);
        Self { runaway: plan.runaway.map(|agent| (agent as usize, from)), ..Self::with_cast(cast, plan.shape, random) }
    }

    /// Starts a stream of a given cast.
    pub(crate) fn with_cast(cast: Cast, shape: Shape, mut random: Random) -> Self {
        let filler = Filler::new(&mut random);
        Self { random, filler, cast, shape, runaway: None, offloaded: None }
    }

    /// Returns everybody in it.
    pub(crate) const fn cast(&self) -> &Cast {
        &self.cast
    }

    /// Returns everybody in it, to be changed.
    pub(crate) const fn cast_mut(&mut self) -> &mut Cast {
        &mut self.cast
    }

    /// Returns the stream's choices.
    pub(crate) const fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Appends the next record, without an end of line, and returns the truth about it.
    pub(crate) fn next_record(&mut self, at: Micros, out: &mut Vec<u8>) -> TruthCall {
        let session = self.next_session(at);
        self.record_of(session, at, self.shape, out)
    }

    /// Appends a record that has no bodies and is no failure, to be damaged.
    pub(crate) fn next_bare_record(&mut self, at: Micros, out: &mut Vec<u8>) {
        let from = out.len();
        loop {
            let session = self.next_session(at);
            if self.record_of(session, at, Shape::Meta, out).error_code.is_empty() {
                return;
            }
            out.truncate(from);
        }
    }

    /// Returns the offloaded body of the last record: its path below the bucket and its text.
    pub(crate) const fn take_offloaded(&mut self) -> Option<(String, Vec<u8>)> {
        self.offloaded.take()
    }

    /// Appends a record of one session.
    pub(crate) fn record_of(&mut self, session: usize, at: Micros, shape: Shape, out: &mut Vec<u8>) -> TruthCall {
        let call = self.call(session, at, shape);
        let (request_bytes, response_bytes) = match shape {
            Shape::Meta => (0, 0),
            Shape::Agent => (5200, 1400),
            Shape::Long => (57_000, 5000),
        };
        let mut ink = Ink { filler: &self.filler, random: &mut self.random, request_bytes, response_bytes };
        let offloaded = write(&call, &mut ink, out);
        self.offloaded = offloaded.map(|body| (format!("{}/data/{}_output.json.gz", call.folder(), call.truth.request_id), body));
        call.truth
    }

    /// Picks a session: a few do most of the work, and a runaway does more and more of it.
    fn next_session(&mut self, at: Micros) -> usize {
        let sessions = self.cast.sessions.len();
        if let Some((agent, from)) = self.runaway
            && at >= from
            && self.random.chance(2, 5)
            && let Some(session) = self.cast.sessions.get_mut(agent)
        {
            // The first session of an agent has its number.
            session.runaway = true;
            return agent;
        }
        let busy = self.random.below(sessions as u64).min(self.random.below(sessions as u64));
        busy as usize
    }

    fn call(&mut self, session: usize, at: Micros, shape: Shape) -> Call {
        let random = &mut self.random;
        let session = &mut self.cast.sessions[session];
        let agent = &self.cast.agents[session.agent];
        let side = session.models.len() > 1 && !session.runaway && random.chance(3, 20);
        let (model, naming) = &session.models[usize::from(side)];
        let operation = operation(model.family, session.style);
        let (tiers, naming_region) = (model.tiers.contains(&naming.geography), naming.geography);
        let (model_id, family, inside) = (Arc::clone(&naming.model_id), model.family, model.own_name());
        let inference_region = inference_region(naming_region, &session.region, random);
        let error_code = if session.runaway { "" } else { error_code(random) };
        let guard = guard(shape, operation, random);
        let usage = if error_code.is_empty() && guard != Some(Guard::BlockedInput) {
            usage(session, family, shape, random)
        } else {
            Usage::default()
        };
        let (asked_tier, served_tier) = tier(tiers && operation.starts_with("Converse"), random);
        let (request, response) = if error_code.is_empty() { delivery(shape, random) } else { Default::default() };
        let mut metadata = session.metadata.clone();
        if agent.traced && !metadata.is_empty() {
            let trace = random.uuid();
            metadata.push_str(",\"traceId\":\"");
            metadata.push_str(&trace);
            metadata.push('"');
        }
        if !metadata.is_empty() {
            metadata.push('}');
        }
        let truth = TruthCall {
            request_id: random.uuid(),
            event_time: logged(at),
            account_id: Arc::clone(&agent.account_id),
            region: Arc::clone(&session.region),
            inference_region,
            operation,
            model_id,
            principal_arn: Arc::clone(&session.principal_arn),
            agent_id: Arc::clone(&agent.id),
            identity: agent.identity.as_str(),
            session_id: Arc::clone(&session.id),
            claimed_agent: session.claimed_agent.clone(),
            claimed_session: session.claimed_session.clone(),
            usage,
            basis: CostBasis::Exact,
            service_tier: ServiceTier::Standard,
            error_code,
            latency_ms: None,
            guardrail: GuardrailUnits::default(),
        };
        let latency_ms = random.skewed(180, 40_000) as u32;
        let caches = matches!(family, Family::Claude | Family::Nova);
        let (order, model) = (session.order, inside);
        let mut call =
            Call { truth, usage, family, model, caches, asked_tier, served_tier, latency_ms, guard, request, response, order, metadata };
        reveal(&mut call, random);
        call
    }
}

/// Puts into the truth what the record will reveal: without the response body, much is unknown.
fn reveal(call: &mut Call, random: &mut Random) {
    let truth = &mut call.truth;
    if call.response != Delivery::Inline {
        let written = call.usage.cache_write_5m + call.usage.cache_write_1h;
        truth.usage = Usage { cache_write_5m: written, cache_write_1h: 0, ..call.usage };
        truth.basis = if written > 0 { CostBasis::Envelope } else { CostBasis::Exact };
        // The tier asked for is the best that is left.
        let asked = call.asked_tier.filter(|_| call.request == Delivery::Inline);
        truth.service_tier = asked.and_then(ServiceTier::parse).unwrap_or_default();
        return;
    }
    truth.service_tier = call.served_tier.and_then(ServiceTier::parse).unwrap_or_default();
    let told = truth.operation.starts_with("Converse") || truth.operation == "InvokeModelWithResponseStream";
    truth.latency_ms = told.then_some(call.latency_ms);
    if call.guard.is_some() {
        let content = random.range(1, 12);
        truth.guardrail =
            GuardrailUnits { topic: content, content, word: content, sensitive: random.below(3), sensitive_free: 1, ..Default::default() };
    }
}

/// A framework calls in one way: the operation is a session's habit, a number below twenty.
fn operation(family: Family, style: u64) -> &'static str {
    match family {
        Family::Embedding => "InvokeModel",
        Family::Claude | Family::OpenAi => match style {
            0..8 => "ConverseStream",
            8..14 => "Converse",
            14..18 => "InvokeModelWithResponseStream",
            _ => "InvokeModel",
        },
        Family::Nova | Family::Llama => match style {
            0..9 => "ConverseStream",
            9..17 => "Converse",
            _ => "InvokeModel",
        },
    }
}

/// One call in seventy fails, mostly because it is throttled.
fn error_code(random: &mut Random) -> &'static str {
    if !random.chance(1, 70) {
        return "";
    }
    random.pick(&[
        "ThrottlingException",
        "ThrottlingException",
        "ThrottlingException",
        "ValidationException",
        "ModelTimeoutException",
        "ModelErrorException",
        "ResourceNotFoundException",
        "AccessDeniedException",
        "InternalServerException",
        "ServiceUnavailableException",
    ])
}

fn guard(shape: Shape, operation: &str, random: &mut Random) -> Option<Guard> {
    if shape == Shape::Meta || !operation.starts_with("Converse") {
        return None;
    }
    match random.below(400) {
        0 => Some(Guard::BlockedInput),
        1 => Some(Guard::BlockedOutput),
        2..12 => Some(Guard::Passed),
        _ => None,
    }
}

/// Most callers ask for no tier; some ask for one and are served another.
fn tier(sold: bool, random: &mut Random) -> (Option<&'static str>, Option<&'static str>) {
    match random.below(10) {
        0..4 => (None, None),
        _ if !sold => (None, Some("default")),
        4..7 => (None, Some("default")),
        7 => (Some("flex"), Some("flex")),
        8 => (Some("priority"), Some("priority")),
        _ => (Some("priority"), Some("default")),
    }
}

fn delivery(shape: Shape, random: &mut Random) -> (Delivery, Delivery) {
    if shape == Shape::Meta {
        return (Delivery::None, Delivery::None);
    }
    match random.below(100) {
        0 => (Delivery::None, Delivery::None),
        1 | 2 => (Delivery::Inline, Delivery::Offloaded),
        3 | 4 => (Delivery::Offloaded, Delivery::Inline),
        5 => (Delivery::Offloaded, Delivery::Offloaded),
        _ => (Delivery::Inline, Delivery::Inline),
    }
}

/// Spends tokens: the context of a session grows with every turn until it is compacted.
fn usage(session: &mut Session, family: Family, shape: Shape, random: &mut Random) -> Usage {
    if session.runaway {
        session.context = (session.context * 23 / 20 + 2000).min(RUNAWAY_CONTEXT);
        let output = if family == Family::Embedding { 0 } else { random.range(800, 4000) };
        return Usage { input: session.context, output, ..Usage::default() };
    }
    let prompt = random.skewed(40, 4000);
    let output = random.skewed(16, 2000);
    match family {
        Family::Embedding => return Usage { input: random.skewed(5, 800), ..Usage::default() },
        Family::Llama | Family::OpenAi => return Usage { input: prompt * 3, output, ..Usage::default() },
        Family::Nova => {
            let cache_read = if random.chance(1, 4) { session.context } else { 0 };
            return Usage { input: prompt * 2, output, cache_read, ..Usage::default() };
        }
        Family::Claude => {}
    }
    let limit = if shape == Shape::Long { 320_000 } else { 120_000 };
    // Caches are lost now and then.
    let fresh = !session.warm || random.chance(1, 30);
    session.warm = true;
    let context = session.context;
    session.context += prompt + output;
    if session.context > limit {
        session.context = random.range(1500, 12_000);
        session.warm = false;
    }
    let (read, written) = if fresh { (0, context) } else { (context, prompt) };
    let hour = match session.caching {
        Caching::Off => return Usage { input: context + prompt, output, ..Usage::default() },
        Caching::Short => 0,
        Caching::Long => written,
        Caching::Both => written * 3 / 4,
    };
    let input = if fresh { prompt } else { random.range(1, 12) };
    Usage { input, output, cache_read: read, cache_write_5m: written - hour, cache_write_1h: hour }
}
