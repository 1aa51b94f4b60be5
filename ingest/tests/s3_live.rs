//! S3, SQS and CloudWatch Logs as moto serves them: what is read, once, and when a message is deleted.
#![cfg(feature = "aws")]

#[path = "s3_live/faults.rs"]
mod faults;
#[path = "s3_live/harness.rs"]
mod harness;
#[path = "s3_live/listing.rs"]
mod listing;
#[path = "s3_live/logs.rs"]
mod logs;
#[path = "s3_live/notifications.rs"]
mod notifications;
#[path = "s3_live/offload.rs"]
mod offload;
#[path = "s3_live/proxy.rs"]
mod proxy;
