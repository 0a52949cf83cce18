//! A scenario as written.

use serde::Deserialize;
use toml::Spanned;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// phzd's configuration at the start.
    pub config: String,
    /// What happens, in order.
    #[serde(rename = "step")]
    pub steps: Vec<Spanned<Step>>,
}

/// One thing that happens; which keys go together, the README says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Step {
    /// A client sends a query: its address.
    pub from: Option<String>,
    /// What it asks, ...
    pub ask: Option<String>,
    /// ... or the bytes it sends.
    pub packet: Option<String>,
    /// A client that waited gets its reply: its address.
    pub to: Option<String>,
    /// What the client gets.
    pub reply: Option<String>,
    /// A resolver's turn: its address.
    pub resolver: Option<String>,
    /// What it has been asked.
    pub asked: Option<String>,
    /// What it says, ...
    pub says: Option<String>,
    /// ... or the bytes it sends.
    pub sends: Option<String>,
    /// Which of the questions it was asked this is for, from 1; the last if absent.
    pub to_question: Option<usize>,
    /// Time passes.
    pub wait: Option<String>,
    /// phzd takes over another configuration.
    pub reload: Option<String>,
    /// phzd learns its own address.
    pub learn_self: Option<String>,
    /// phzd sends each resolver a random name.
    pub look_around: Option<bool>,
}
