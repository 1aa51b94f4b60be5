//! Sources and decoding: bytes and positions in, invocations, trail events and rejected records out.

pub mod committed;
pub mod decode;
pub mod files;
mod framing;
pub mod inflate;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod piece;
#[cfg(feature = "relay")]
pub mod relay;
pub mod source;
