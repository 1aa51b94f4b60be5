//! Which price an image has: the tightest bounds that hold its side, steps and quality.

use sluice_schemas::Extras;

use super::card::ImageRate;
use super::decimal::UnitPrice;

/// Side of an image whose request names none ("Amazon Titan Image Generator", "Amazon Nova Canvas", Amazon Bedrock and
/// Amazon Nova User Guides: width and height default to 1024).
const DEFAULT_SIDE: u32 = 1024;
/// Steps of a request that names none ("Stability.ai Diffusion 1.0 text to image", Amazon Bedrock User Guide).
const DEFAULT_STEPS: u32 = 30;
/// Quality of a request that names none.
const DEFAULT_QUALITY: &str = "standard";

/// Returns the price of one image of a call, or `None` when it is larger than any card says.
pub(super) fn rate_of(rates: &[ImageRate], extras: &Extras) -> Option<UnitPrice> {
    image_rate(rates, extras).map(|rate| rate.price)
}

/// Returns the entry that prices the images of a call.
pub(crate) fn image_rate<'a>(rates: &'a [ImageRate], extras: &Extras) -> Option<&'a ImageRate> {
    let told = |side: u32| if side == 0 { DEFAULT_SIDE } else { side };
    let side = told(extras.image_width).max(told(extras.image_height));
    let steps = if extras.image_steps == 0 { DEFAULT_STEPS } else { extras.image_steps };
    let quality = if extras.image_quality.is_empty() { DEFAULT_QUALITY } else { &extras.image_quality };
    let fits = |rate: &&ImageRate| {
        rate.max_side.is_none_or(|max| side <= max)
            && rate.max_steps.is_none_or(|max| steps <= max)
            && (rate.quality.is_empty() || rate.quality == quality)
    };
    rates.iter().find(fits)
}
