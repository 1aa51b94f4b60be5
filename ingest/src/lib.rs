//! Sources and decoding: bytes and positions in, invocations, trail events and rejected records out.

pub mod accept;
pub mod admit;
#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "aws")]
pub mod cloudwatch_logs;
#[cfg(feature = "aws")]
pub mod cloudwatch_metrics;
pub mod committed;
pub mod decode;
pub mod directory;
#[cfg(feature = "aws")]
pub mod documents;
pub mod files;
mod framing;
pub mod inflate;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "aws")]
pub mod kinesis;
#[cfg(feature = "aws")]
pub mod lambda;
pub mod merge;
pub mod piece;
#[cfg(feature = "relay")]
pub mod relay;
pub mod retention;
#[cfg(feature = "aws")]
pub mod s3;
#[cfg(feature = "aws")]
pub mod signed;
pub mod source;
#[cfg(feature = "aws")]
mod sqs;
#[cfg(feature = "relay")]
mod units;
