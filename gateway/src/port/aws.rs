//! AWS: what it gives its customers for their side of a VPN connection, as XML or inside describe-vpn-connections JSON.
//!
//! ```text
//!   vpn_connection ─► ipsec_tunnel, two of them ─► [connection.vpn-..-1], [connection.vpn-..-2] with the next metric
//!     vpn_gateway/tunnel_outside_address ─► peer      any network on both sides; `routes` says what goes there
//!     ike/pre_shared_key                 ─► psk       algorithms: the strong ones that AWS has, not those of the file
//! ```
//!
//! The file names the weakest algorithms that AWS accepts; its gateways accept all that its guide lists, so the built-in
//! policy `aws` comes up with them as they are.

use std::sync::Arc;
use std::time::Duration;

use roxmltree::{Document, Node, ParsingOptions};

use super::foreign::{Foreign, Pair, Secret, Side};
use super::json::documents;
use super::note::Note;
use super::text::{place, source, syntax};
use super::{Input, Parsed};
use crate::config::{Diagnostic, Place, Source};

pub(super) fn parse(inputs: &[Input]) -> Result<Parsed, Box<Diagnostic>> {
    let mut parsed = Parsed::default();
    for input in inputs {
        let shown = source(input);
        if input.text.trim_start().starts_with(['{', '[']) {
            for document in documents(input, &shown)? {
                of_json(&document, input, &shown, &mut parsed)?;
            }
        } else {
            let spot = |span: std::ops::Range<usize>| place(&shown, &input.text, span);
            of_xml(&input.text, &spot, &Options::default(), &mut parsed)?;
        }
    }
    for (at, one) in parsed.connections.iter_mut().enumerate() {
        one.metric = Some(u32::try_from(at + 1).unwrap_or(9).saturating_mul(100));
    }
    Ok(parsed)
}

/// What the JSON says besides the XML in it.
#[derive(Default)]
struct Options {
    routes: Vec<String>,
    local: Option<String>,
    remote: Option<String>,
}

fn of_json(
    document: &serde_json::Value,
    input: &Input,
    shown: &Arc<Source>,
    parsed: &mut Parsed,
) -> Result<(), Box<Diagnostic>> {
    let all = document.get("VpnConnections").and_then(|all| all.as_array());
    for connection in all.map_or(std::slice::from_ref(document), Vec::as_slice) {
        let text = |at: &serde_json::Value, key: &str| {
            at.get(key).and_then(|value| value.as_str()).map(str::to_owned)
        };
        let Some(xml) = text(connection, "CustomerGatewayConfiguration") else { continue };
        let named = text(connection, "VpnConnectionId").unwrap_or_default();
        let found = input.text.find(&named).filter(|_| !named.is_empty());
        let whole = found.map_or(0..0, |at| at..at + named.len());
        let routes = connection.get("Routes").and_then(|all| all.as_array()).into_iter().flatten();
        let inner = connection.get("Options").unwrap_or(&serde_json::Value::Null);
        let options = Options {
            routes: routes.filter_map(|route| text(route, "DestinationCidrBlock")).collect(),
            local: text(inner, "LocalIpv4NetworkCidr"),
            remote: text(inner, "RemoteIpv4NetworkCidr"),
        };
        let spot = |_| place(shown, &input.text, whole.clone());
        of_xml(&xml, &spot, &options, parsed)?;
    }
    Ok(())
}

fn of_xml(
    text: &str,
    spot: &dyn Fn(std::ops::Range<usize>) -> Place,
    options: &Options,
    parsed: &mut Parsed,
) -> Result<(), Box<Diagnostic>> {
    let limits = ParsingOptions { nodes_limit: 20_000, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, limits).map_err(|error| {
        let position = error.pos();
        let lines = text.split_inclusive('\n').take(position.row.saturating_sub(1) as usize);
        let at = lines.map(str::len).sum::<usize>() + position.col.saturating_sub(1) as usize;
        // Its words may repeat a value.
        syntax(
            &spot(at..at + 1),
            "this is not XML, or it is cut off",
            "reading stopped making sense here",
        )
    })?;
    let root = document.root_element();
    if !root.has_tag_name("vpn_connection") {
        return Err(syntax(
            &spot(root.range().start..root.range().start + 1),
            "this is no CustomerGatewayConfiguration",
            "`vpn_connection` has to stand here",
        ));
    }
    let id = root.attribute("id").unwrap_or("aws");
    let attributes = inside(root, "vpn_connection_attributes");
    let is_static = attributes.contains("NoBGP");
    for (number, tunnel) in
        root.children().filter(|node| node.has_tag_name("ipsec_tunnel")).enumerate()
    {
        let place = spot(tunnel.range().start..tunnel.range().start + "<ipsec_tunnel>".len());
        parsed.connections.push(self::tunnel(
            tunnel,
            &format!("{id}-{}", number + 1),
            &place,
            is_static,
            options,
        ));
    }
    Ok(())
}

/// The text of an element somewhere inside, by its path; empty if there is none.
fn inside(node: Node<'_, '_>, path: &str) -> String {
    let found = path
        .split('/')
        .try_fold(node, |at, name| at.children().find(|child| child.has_tag_name(name)));
    found.and_then(|node| node.text()).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn tunnel(
    node: Node<'_, '_>,
    name: &str,
    place: &Place,
    is_static: bool,
    options: &Options,
) -> Foreign {
    let address = |side: &str| inside(node, &format!("{side}/tunnel_outside_address/ip_address"));
    let side = |which: &str| {
        let addresses = Some(address(which)).filter(|text| !text.is_empty());
        Side { addresses: addresses.into_iter().collect(), ..Side::default() }
    };
    let seconds = |path: &str| {
        inside(node, path).parse::<u64>().ok().filter(|s| *s > 0).map(Duration::from_secs)
    };
    let key = inside(node, "ike/pre_shared_key");
    let any =
        |given: &Option<String>| vec![given.clone().unwrap_or_else(|| "0.0.0.0/0".to_owned())];
    let mut one = Foreign {
        name: name.to_owned(),
        place: Some(place.clone()),
        sides: [side("customer_gateway"), side("vpn_gateway")],
        psk: Some(key).filter(|key| !key.is_empty()).map(|key| Secret::of(&key)),
        pairs: vec![Pair {
            networks: [any(&options.local), any(&options.remote)],
            place: Some(place.clone()),
        }],
        routes: Some(options.routes.clone()),
        policy: "aws",
        start: "always",
        // What the built-in policy has is not written again.
        ike_lifetime: seconds("ike/lifetime").filter(|time| *time != Duration::from_hours(8)),
        esp_lifetime: seconds("ipsec/lifetime").filter(|time| *time != Duration::from_hours(1)),
        ..Foreign::default()
    };
    let said = ["encryption_protocol", "authentication_protocol", "perfect_forward_secrecy"]
        .map(|key| inside(node, &format!("ike/{key}")));
    let what = format!(
        "the file says {} for IKE; the stronger ones that AWS takes are offered",
        said.join(", ")
    );
    one.note(Note::new(Some(place), what).fix("see that the tunnel options of the connection do not exclude AES256-GCM-16 with group 20, or AES256, SHA2-256 and group 14"));
    if let (Some(interval), Ok(retries)) = (
        seconds("ipsec/dead_peer_detection/interval"),
        inside(node, "ipsec/dead_peer_detection/retries").parse::<u32>(),
    ) {
        let timeout = interval.saturating_mul(retries.min(100));
        if (interval.as_secs(), timeout.as_secs()) != (10, 30) {
            one.dpd.interval = Some(interval);
            one.dpd.timeout = Some(timeout);
        }
    }
    if !inside(node, "vpn_gateway/bgp/asn").is_empty() && !is_static {
        let what = "it is made for BGP, which this gateway does not speak";
        one.note(
            Note::new(Some(place), what)
                .fix("make the VPN connection with static routes, and add those of this site there")
                .grave(),
        );
    }
    one
}
