//! What a line of the bill is for, in the words of the price catalogue: model, door, region, scope, tier and unit.
//!
//! Usage types are read by the grammar that reads AWS price lists. Calls in a region and through a geographic profile are billed under
//! one usage type, calls through a global profile under another: a line tells them apart and no more.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;

use super::{BilledLine, LineKind};
use crate::prices::import::aws::models::Models;
use crate::prices::import::aws::usage::{self, Meter, NeverLogged, UsageType};
use crate::prices::import::aws::{Item, item_of, model_of, units_of};
use crate::prices::{Endpoint, Scope, Tier, Unit};

/// What is billed, apart from who and when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line {
    /// Canonical model; empty where the bill names none that is known.
    pub model: String,
    /// Region of the caller; its billing code where that is not known.
    pub region: String,
    /// Door.
    pub endpoint: Endpoint,
    /// Called through a global profile.
    pub global: bool,
    /// Tier.
    pub tier: Tier,
    pub(super) measured: Measured,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Measured {
    Item(Item),
    /// Known to be in no log; the usage type names it.
    NeverLogged {
        usage_type: String,
        kind: Unlogged,
    },
    Unknown {
        usage_type: String,
        why: String,
    },
}

/// Why our side has no calls for what is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unlogged {
    /// Batch inference.
    Batch,
    /// The `bedrock-mantle` endpoint.
    Mantle,
    /// Provisioned throughput: paid by the hour.
    Provisioned,
    /// Capacity reserved ahead.
    Reserved,
    /// Customization, training and storage of models.
    Customization,
    /// Asynchronous invocation, as for video.
    Async,
    /// Speech: bidirectional streams.
    Bidirectional,
    /// Guardrails applied beside logged calls.
    Guardrail,
    /// An account without any call on our side.
    Account,
    /// A region without any call on our side.
    Region,
    /// A day without any call of the region on our side.
    Day,
    /// Calls of the principal that hide their model, as an application inference profile does.
    HiddenModel,
    /// A principal without calls on that day.
    Principal,
    /// Calls of the principal, but none of this model, scope and tier.
    Model,
}

impl Unlogged {
    /// Returns the word of reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Mantle => "mantle",
            Self::Provisioned => "provisioned_throughput",
            Self::Reserved => "reserved_capacity",
            Self::Customization => "customization",
            Self::Async => "async",
            Self::Bidirectional => "bidirectional_stream",
            Self::Guardrail => "guardrail",
            Self::Account => "account_without_log",
            Self::Region => "region_without_log",
            Self::Day => "day_without_log",
            Self::HiddenModel => "hidden_model",
            Self::Principal => "principal_without_calls",
            Self::Model => "model_without_calls",
        }
    }
}

impl From<NeverLogged> for Unlogged {
    fn from(kind: NeverLogged) -> Self {
        match kind {
            NeverLogged::Batch => Self::Batch,
            NeverLogged::Mantle => Self::Mantle,
            NeverLogged::Provisioned => Self::Provisioned,
            NeverLogged::Reserved => Self::Reserved,
            NeverLogged::Customization => Self::Customization,
            NeverLogged::Async => Self::Async,
            NeverLogged::Bidirectional => Self::Bidirectional,
            NeverLogged::Guardrail => Self::Guardrail,
        }
    }
}

impl Line {
    /// Returns what is counted, in the words of price files; the usage type itself where it cannot be read.
    #[must_use]
    pub fn usage(&self) -> String {
        match &self.measured {
            Measured::Item(Item::Tokens { class, long_context }) => format!("{class}{}", if *long_context { " long_context" } else { "" }),
            Measured::Item(Item::Unit(unit)) => unit.as_str().to_owned(),
            Measured::Item(Item::Image { max_side, quality }) => {
                let side = max_side.map(|side| format!(" {side}")).unwrap_or_default();
                format!("image{side}{}{quality}", if quality.is_empty() { "" } else { " " })
            }
            Measured::NeverLogged { usage_type, .. } | Measured::Unknown { usage_type, .. } => usage_type.clone(),
        }
    }

    /// Returns the scope: `global`, or `regional` for a region and its geographic profiles.
    #[must_use]
    pub const fn scope(&self) -> &'static str {
        if self.global { "global" } else { "regional" }
    }

    /// Returns the scope that prices it.
    pub(super) const fn price_scope(&self) -> Scope {
        if self.global { Scope::Global } else { Scope::InRegion }
    }

    pub(super) const fn item(&self) -> Option<&Item> {
        match &self.measured {
            Measured::Item(item) => Some(item),
            Measured::NeverLogged { .. } | Measured::Unknown { .. } => None,
        }
    }

    /// Returns why the usage type could not be read.
    pub(super) fn unknown(&self) -> Option<&str> {
        match &self.measured {
            Measured::Unknown { why, .. } => Some(why),
            Measured::Item(_) | Measured::NeverLogged { .. } => None,
        }
    }

    /// Returns what no log tells of, whatever else our side has.
    pub(super) fn never_logged(&self) -> Option<Unlogged> {
        match &self.measured {
            Measured::NeverLogged { kind, .. } => Some(*kind),
            Measured::Unknown { .. } => None,
            Measured::Item(item) => match item {
                _ if self.endpoint == Endpoint::Mantle => Some(Unlogged::Mantle),
                _ if self.tier == Tier::Batch => Some(Unlogged::Batch),
                Item::Unit(Unit::ModelUnitHour) => Some(Unlogged::Provisioned),
                Item::Unit(Unit::OutputVideoSecond) => Some(Unlogged::Async),
                Item::Unit(Unit::InputAudioToken | Unit::OutputAudioToken) => Some(Unlogged::Bidirectional),
                Item::Unit(unit) if unit.as_str().starts_with("guardrail") => Some(Unlogged::Guardrail),
                _ => None,
            },
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = if self.model.is_empty() { "?" } else { &self.model };
        write!(f, "{model} {} {} {}", self.usage(), self.region, self.scope())?;
        if self.tier != Tier::Standard {
            write!(f, " {}", self.tier.as_str())?;
        }
        if self.endpoint == Endpoint::Runtime { Ok(()) } else { write!(f, " ({})", self.endpoint.as_str()) }
    }
}

/// A usage type, read, and the power of ten of units that its amounts count.
#[derive(Clone, Debug)]
pub(super) struct ReadLine {
    pub(super) line: Arc<Line>,
    pub(super) power: u32,
    /// The bill does not say what it counts in; it was taken to be what price lists say of such usage types.
    pub(super) unit_assumed: bool,
}

/// Reads usage types, each once.
pub(super) struct LineReader {
    models: Models,
    read: HashMap<[String; 6], ReadLine>,
}

impl LineReader {
    pub(super) fn new<'a>(models: impl Iterator<Item = &'a str>) -> Self {
        Self { models: Models::of(models), read: HashMap::default() }
    }

    pub(super) fn read(&mut self, billed: &BilledLine) -> ReadLine {
        let about =
            [&billed.usage_type, &billed.region, &billed.product, &billed.model, &billed.unit, &billed.description].map(String::clone);
        if let Some(read) = self.read.get(&about) {
            return read.clone();
        }
        let read = self.read_new(billed);
        self.read.insert(about, read.clone());
        read
    }

    fn read_new(&self, billed: &BilledLine) -> ReadLine {
        let text = &billed.usage_type;
        let parsed = usage::parse(text);
        let place = parsed.as_ref().map_or_else(|_| text.split(['-', '_']).next().unwrap_or(""), |usage| usage.place.as_str());
        let mut line = Line {
            model: String::new(),
            region: region(&billed.region, place),
            endpoint: Endpoint::Runtime,
            global: false,
            tier: Tier::Standard,
            measured: Measured::Unknown { usage_type: text.clone(), why: String::new() },
        };
        let (power, assumed) = match parsed.and_then(|usage| self.fill(&mut line, &usage, billed)) {
            Ok(unit) => unit,
            Err(why) => {
                line.measured = match usage::never_logged(text) {
                    Some(kind) => Measured::NeverLogged { usage_type: text.clone(), kind: kind.into() },
                    None => Measured::Unknown { usage_type: text.clone(), why },
                };
                (0, false)
            }
        };
        ReadLine { line: Arc::new(line), power, unit_assumed: assumed && billed.kind == LineKind::Usage }
    }

    /// Fills in what a usage type says; returns the power of ten of its unit, and whether that was assumed.
    fn fill(&self, line: &mut Line, usage: &UsageType, billed: &BilledLine) -> Result<(u32, bool), String> {
        let attribute = |name: &str| match name {
            "model" => billed.model.as_str(),
            "servicename" => billed.product.as_str(),
            _ => "",
        };
        (line.global, line.tier) = (usage.global, usage.tier);
        line.endpoint = if usage.mantle { Endpoint::Mantle } else { Endpoint::Runtime };
        line.model = model_of(usage, &attribute, &self.models)?;
        let assumed = billed.unit.is_empty();
        let unit = if assumed { usual_unit(usage) } else { &billed.unit };
        let power = units_of(&usage.meter, unit, &billed.description)?;
        line.measured = Measured::Item(item_of(usage));
        Ok((power, assumed))
    }
}

/// Returns the unit that price lists sell a usage type in.
fn usual_unit(usage: &UsageType) -> &'static str {
    match &usage.meter {
        Meter::Image { .. } => "image",
        Meter::Unit(Unit::ModelUnitHour) => "hours",
        Meter::Unit(unit) if !unit.is_token() => "units",
        _ if usage.mantle => "1m tokens",
        // The Marketplace, which names no model, counts millions.
        _ if usage.name.is_empty() => "units",
        _ => "1k tokens",
    }
}

fn region(told: &str, place: &str) -> String {
    if !told.is_empty() {
        return told.to_owned();
    }
    usage::region_of(place).map_or_else(|| place.to_owned(), str::to_owned)
}
