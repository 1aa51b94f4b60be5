//! Which table, and how AWS is reached.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use serde::Deserialize;

/// Time for one attempt of a call. A hold waits for it, and sending a step again is harmless, so it is short.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the shared store is. What is absent comes from the environment, the shared configuration files, or the machine's role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamoSettings {
    /// Name or ARN of the table.
    pub table: String,
    /// Region, for example `eu-central-1`.
    #[serde(default)]
    pub region: Option<String>,
    /// URL to send every call to, for a VPC endpoint or an emulator.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Profile of the shared configuration files.
    #[serde(default)]
    pub profile: Option<String>,
}

impl DynamoSettings {
    /// Loads the configuration of the SDK.
    pub(super) async fn load(self) -> SdkConfig {
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http).timeout_config(timeouts);
        if let Some(region) = self.region {
            loader = loader.region(Region::new(region));
        }
        if let Some(endpoint) = self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(profile) = self.profile {
            loader = loader.profile_name(profile);
        }
        loader.load().await
    }
}
