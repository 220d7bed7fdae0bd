//! Where an agent of a product is on its host.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Secret;

/// A host itself. The address, not the name: `localhost` may lead to ::1 first, where the APIs do not listen.
pub const LOOPBACK: &str = "127.0.0.1";

/// What a role says of the agent that it sets up, in its `endpoint:`; gates, commands and scripts read this alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// By its name in the registry: `consul`.
    pub product: String,
    /// Of its API, on the host's own loopback.
    pub port: u16,
    #[serde(default)]
    pub scheme: Scheme,
    /// The systemd unit that runs it.
    pub unit: String,
    /// The folder that tells whose it is, and goes with a purge.
    pub data: String,
    /// The folder of which its agent reads all files.
    #[serde(default)]
    pub config: Option<String>,
    /// What the inventory wants to run there.
    #[serde(default)]
    pub version: Option<String>,
    /// What it is shown by who asks it, where its agents know who asks.
    #[serde(default)]
    pub tokens: Tokens,
    /// What only this product knows of.
    #[serde(default)]
    pub settings: Map<String, Value>,
}

/// What an API is shown by this program, each for one use; none where whoever reaches it may do all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// By who looks: gates, `health`, plans. It reads, and changes nothing.
    #[serde(default)]
    pub observe: Option<Secret>,
    /// By who takes members out and writes the keys of a drill.
    #[serde(default)]
    pub operate: Option<Secret>,
    /// By who makes tokens, and saves and restores all that there is. Only servers are shown it.
    #[serde(default)]
    pub manage: Option<Secret>,
}

/// How an API is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Endpoint {
    /// The keys that a role must write, and those that it may.
    pub const NEEDED: [&str; 4] = ["product", "port", "unit", "data"];
    pub const OPTIONAL: [&str; 5] = ["scheme", "config", "version", "tokens", "settings"];

    /// Whether its agents may want to know who asks.
    pub fn has_tokens(&self) -> bool {
        self.tokens.observe.is_some()
    }

    /// The API, for programs on the host itself.
    pub fn url(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
}
