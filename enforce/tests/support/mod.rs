//! What the tests of shared stores have in common.

#[cfg(feature = "aws")]
#[path = "../../../tests/live/fault_proxy.rs"]
pub(crate) mod fault_proxy;
#[cfg(feature = "aws")]
#[path = "../../../tests/live/servers.rs"]
pub(crate) mod servers;
pub(crate) mod store_model;
