//! Prices: what a call costs, exactly, by the rate card that held when it was made.
//!
//! Owns: rate cards and their file format, which card prices which call, the arithmetic, the import of others' price lists.
//! Does not own: files, downloads, clocks; a caller reads and hands over text. Invariant C9. Units: prices in USD a unit,
//! exact to 10⁻²⁴; costs in pico-dollars, rounded half to even once a call.

mod card;
mod catalogue;
mod decimal;
mod diff;
mod discount;
mod image;
pub mod import;
mod names;
mod profile;
mod quote;
mod rerate;
mod resolve;
mod span;
mod text;

pub use card::{ANY_REGION, Endpoint, GUARDRAILS, ImageRate, PriceKey, RateCard, Scope, Step, Tier, TokenRates, Unit};
pub use catalogue::{Catalogue, CatalogueError, EmptySpanError, OverlapError, UnknownWordError};
pub use decimal::{PriceTextError, UnitPrice};
pub use diff::RateChange;
pub use discount::{Discount, Percent, PercentError};
pub(crate) use image::image_rate;
pub(crate) use names::{geographies_of, split_listed};
pub(crate) use profile::{is_system_profile, model_behind};
pub use quote::{ProfileRates, Quote, UnpricedReason};
pub use rerate::{CallToRate, ExtrasError, Rerated, extras_from_json, rerate};
pub(crate) use text::sort_images;
