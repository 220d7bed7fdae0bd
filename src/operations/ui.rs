//! The pages of a product for a browser on this machine.

use super::Run;
use super::agents::{agents, connect};
use crate::engine::EngineError;
use crate::engine::ui::UiPort;
use crate::model::{Check, Endpoint, Finding, HostName};
use crate::products::{Gate, Ui};
use crate::roles::WantedHost;

/// What is to be shown, and how.
#[derive(Clone, Debug)]
pub struct UiRequest {
    /// By its name; `None`: the only one that there is.
    pub product: Option<String>,
    /// Of this machine; 0: any that is free.
    pub port: u16,
    /// Whether the browser may change something.
    pub writes: bool,
}

/// An agent with pages, on its host.
struct Place<'w> {
    gate: Gate,
    wanted: &'w WantedHost,
    endpoint: &'w Endpoint,
    ui: Ui,
}

/// Opens the pages of the first agent that answers, servers before clients; with its host.
///
/// # Errors
/// The inventory has no such agents, or none of them answers.
pub async fn open_ui(run: Run<'_>, request: &UiRequest) -> Result<(HostName, UiPort), EngineError> {
    let unfit = |reason: String, help: &str| {
        EngineError::Unfit(vec![Finding::error(Check::Agent, Vec::new(), reason, help.to_owned())])
    };
    let places = places(run, request.product.as_deref());
    let mut products: Vec<&str> = places.iter().map(|place| place.endpoint.product.as_str()).collect();
    products.sort_unstable();
    products.dedup();
    if products.len() > 1 {
        let help = format!("name one of them: `bootstrap ui INVENTORY {}`", products[0]);
        return Err(unfit(format!("there are the pages of {}", products.join(" and ")), &help));
    }
    if places.is_empty() {
        let all = Gate::products_with_pages().join(" or ");
        let of = request.product.as_deref().unwrap_or(&all);
        let help = "`bootstrap roles` lists what hosts can be";
        return Err(unfit(format!("no host of the inventory has an agent of {of}"), help));
    }
    let mut refused = Vec::new();
    for place in places {
        let host = &place.wanted.host.name;
        match open(run, &place, request).await {
            Ok(port) => return Ok((host.clone(), port)),
            Err(finding) => refused.push(finding),
        }
    }
    Err(EngineError::Unfit(refused))
}

fn places<'w>(run: Run<'w>, product: Option<&str>) -> Vec<Place<'w>> {
    let mut found: Vec<Place<'w>> = Vec::new();
    let is_wanted = |endpoint: &Endpoint| product.is_none_or(|product| product == endpoint.product);
    for (gate, wanted, endpoint) in agents(run) {
        let Some(ui) = gate.product().ui().filter(|_| is_wanted(endpoint)) else { continue };
        let is_known =
            found.iter().any(|place| std::ptr::eq(place.wanted, wanted) && place.endpoint == endpoint);
        if !is_known && run.options.hosts.contains(&wanted.host.name) {
            found.push(Place { gate, wanted, endpoint, ui });
        }
    }
    found
}

async fn open(run: Run<'_>, place: &Place<'_>, request: &UiRequest) -> Result<UiPort, Finding> {
    let host = &place.wanted.host;
    let connection = connect(run, place.wanted).await?;
    let tokens = &place.endpoint.tokens;
    let token = if request.writes { &tokens.manage } else { &tokens.observe };
    let agent = (place.endpoint.port, place.gate.header(token.as_ref()));
    let opened = UiPort::open(connection, agent, place.ui, request.port, request.writes).await;
    opened.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Finding::error(
            Check::Agent,
            vec![host.name.clone()],
            format!("{}: {error}{cause}", place.endpoint.product),
            "`bootstrap health` says how its agents are".to_owned(),
        )
    })
}
