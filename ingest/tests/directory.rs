//! What is asked of AWS about agents, against a server that answers as the service models say.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod directory {
    pub(crate) mod fake;
    pub(crate) mod iam;
    pub(crate) mod lists;
    pub(crate) mod profiles;
    pub(crate) mod server;
}
