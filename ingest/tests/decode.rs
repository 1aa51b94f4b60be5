//! The decoder as its callers see it: samples, an independent reading to compare with, and hostile input.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod decode {
    pub(crate) mod adversarial;
    pub(crate) mod differential;
    pub(crate) mod golden;
    pub(crate) mod oracle;
    pub(crate) mod shapes;
    pub(crate) mod support;
    pub(crate) mod trail;
    pub(crate) mod units;
}
