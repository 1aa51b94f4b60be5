//! Sources and decoding: bytes and positions in, invocations, trail events and rejected records out.

pub mod decode;
