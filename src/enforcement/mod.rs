//! What enforcement needs of the outside: signed calls of AWS.

pub(crate) mod aws;
