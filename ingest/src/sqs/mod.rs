//! SQS queues of notifications: received in the background, kept hidden while in work, deleted once the lake holds what they
//! told of.

mod desk;
mod event;
mod keeper;

pub(crate) use desk::{Desk, MessageId, ObjectId};
pub(crate) use event::{Created, Told, told};
pub(crate) use keeper::{Delivered, Queue, Queues};
