//! Running in production: health, metrics, exports, an orderly end.
//!
//! ```text
//! coordinator: Meter (tallies of its own, no lock) ─ Measures once a second ─→ Board ←─ Watch (fence, holds, process)
//!                                                                               ├─→ /live /ready /metrics
//!                                                                               ├─→ sluice status
//!                                                                               └─→ EMF, OTLP
//! ```
//!
//! Owns: what is measured and under which name, when a process counts as ready, the HTTP listener, exports, the drain's
//! deadline. Does not own: the states that are measured; a reader sees the last published snapshot and can hold up nothing.

mod board;
mod catalogue;
mod config;
mod drain;
mod emf;
mod histogram;
mod http;
mod measures;
mod meter;
mod otlp;
mod process;
mod prometheus;
mod ready;
mod status;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use board::{Board, Phase, Stage, Terms};
pub(crate) use config::{OperateConfig, RawOperate};
pub(crate) use drain::watch_deadline;
pub(crate) use http::HttpServer;
pub(crate) use measures::{BUDGETS_MAX, BudgetMeasure, Measures, ShardMeasure, SourceMeasure};
pub(crate) use meter::Meter;
pub(crate) use status::{Status, render};
pub(crate) use watch::{HoldCount, LeverCount, Probe, Probed, Watch};
