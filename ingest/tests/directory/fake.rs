//! Somebody who asks a server on this machine, at a moment that does not pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use sluice_ingest::directory::{Asker, AskerSettings};
use sluice_schemas::{Clock, Micros};

pub(crate) use super::server::{ACCOUNT, Answer, Asked, Fake};

/// Returns somebody who asks this server, at no pace to speak of.
pub(crate) fn asker(fake: &Fake, roles: &[(&str, &str)]) -> Asker {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "nobody");
    let config = aws_config::defaults(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new("us-east-1"))
        .endpoint_url(&fake.address)
        .load();
    let config = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(config);
    let roles: BTreeMap<_, _> = roles.iter().map(|(account, role)| ((*account).to_owned(), (*role).to_owned())).collect();
    let settings = AskerSettings { per_second: 10_000, roles };
    Asker::new(config, settings, Arc::new(Fixed), Arc::default())
}

/// A clock that stands still.
pub(crate) const NOW: Micros = Micros(1_800_000_000_000_000);

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Micros {
        NOW
    }
}
