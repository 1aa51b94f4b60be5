//! How brokers are reached: in the clear, over TLS, with a password, with an AWS identity. Secrets are never in the settings.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

/// How brokers are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Security {
    /// In the clear, without a name.
    #[default]
    Plaintext,
    /// TLS; with `cert` and `key` the client has a name too.
    Tls {
        /// PEM file of the authorities that may sign a broker; the system's where absent.
        ca: Option<PathBuf>,
        /// PEM file of the client's certificate.
        cert: Option<PathBuf>,
        /// PEM file of the client's key.
        key: Option<PathBuf>,
    },
    /// A user and a password.
    Sasl {
        /// How the password is proved.
        mechanism: Mechanism,
        /// The user.
        user: String,
        /// Environment variable that holds the password.
        password_env: Option<String>,
        /// File that holds the password; one line end at its end is not part of it.
        password_file: Option<PathBuf>,
        /// Whether the connection is encrypted.
        #[serde(default = "yes")]
        tls: bool,
        /// PEM file of the authorities that may sign a broker; the system's where absent.
        ca: Option<PathBuf>,
    },
    /// An AWS identity, for Amazon MSK.
    MskIam {
        /// Region of the cluster.
        region: String,
        /// PEM file of the authorities that may sign a broker; the system's where absent.
        ca: Option<PathBuf>,
    },
}

const fn yes() -> bool {
    true
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    /// Salted challenge and response over SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Salted challenge and response over SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// The password itself.
    #[serde(rename = "PLAIN")]
    Plain,
}

impl Mechanism {
    const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::Plain => "PLAIN",
        }
    }
}

impl Security {
    /// Tells whether the connection is encrypted.
    pub(super) const fn is_encrypted(&self) -> bool {
        match self {
            Self::Plaintext => false,
            Self::Tls { .. } | Self::MskIam { .. } => true,
            Self::Sasl { tls, .. } => *tls,
        }
    }

    /// Returns one word for messages.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls { .. } => "tls",
            Self::Sasl { tls: true, .. } => "sasl over tls",
            Self::Sasl { .. } => "sasl without tls",
            Self::MskIam { .. } => "msk_iam",
        }
    }

    pub(super) fn check(&self, faults: &mut Vec<String>) {
        match self {
            Self::Plaintext => {}
            Self::Tls { cert, key, .. } => {
                if cert.is_some() != key.is_some() {
                    faults.push("security: cert and key belong together".to_owned());
                }
            }
            Self::Sasl { mechanism, user, password_env, password_file, tls, ca } => {
                if user.is_empty() {
                    faults.push("security: user is empty".to_owned());
                }
                if password_env.is_some() == password_file.is_some() {
                    faults.push("security: give either password_env or password_file".to_owned());
                }
                if *mechanism == Mechanism::Plain && !tls {
                    faults.push("security: PLAIN without tls would send the password in the clear".to_owned());
                }
                if ca.is_some() && !tls {
                    faults.push("security: ca has no effect without tls".to_owned());
                }
            }
            Self::MskIam { region, .. } => {
                if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
                    faults.push(format!("security: '{region}' is not a region"));
                }
            }
        }
    }

    /// Adds what librdkafka is told, secrets included.
    pub(super) fn properties(&self, env: &dyn Fn(&str) -> Option<String>, all: &mut BTreeMap<String, String>) -> Result<(), String> {
        let mut set = |key: &str, value: String| all.insert(key.to_owned(), value);
        match self {
            Self::Plaintext => {
                set("security.protocol", "plaintext".to_owned());
            }
            Self::Tls { ca, cert, key } => {
                set("security.protocol", "ssl".to_owned());
                for (name, path) in [("ssl.ca.location", ca), ("ssl.certificate.location", cert), ("ssl.key.location", key)] {
                    if let Some(path) = path {
                        set(name, file(path)?);
                    }
                }
            }
            Self::Sasl { mechanism, user, password_env, password_file, tls, ca } => {
                set("security.protocol", if *tls { "sasl_ssl" } else { "sasl_plaintext" }.to_owned());
                set("sasl.mechanisms", mechanism.name().to_owned());
                set("sasl.username", user.clone());
                set("sasl.password", password(env, password_env.as_deref(), password_file.as_ref())?);
                if let Some(path) = ca {
                    set("ssl.ca.location", file(path)?);
                }
            }
            Self::MskIam { ca, .. } => {
                set("security.protocol", "sasl_ssl".to_owned());
                set("sasl.mechanisms", "OAUTHBEARER".to_owned());
                if let Some(path) = ca {
                    set("ssl.ca.location", file(path)?);
                }
            }
        }
        Ok(())
    }
}

/// Returns a path as text, once the file can be read: librdkafka's own message does not name it.
fn file(path: &PathBuf) -> Result<String, String> {
    fs::metadata(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

fn password(env: &dyn Fn(&str) -> Option<String>, variable: Option<&str>, path: Option<&PathBuf>) -> Result<String, String> {
    let secret = match (variable, path) {
        (Some(variable), _) => env(variable).ok_or_else(|| format!("the environment variable {variable} is not set"))?,
        (None, Some(path)) => fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?,
        (None, None) => return Err("no password was given".to_owned()),
    };
    let secret = secret.strip_suffix('\n').map_or(secret.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if secret.is_empty() { Err("the password is empty".to_owned()) } else { Ok(secret.to_owned()) }
}
