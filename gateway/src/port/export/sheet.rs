//! A page of parameters in Markdown: what to ask the other side's administrator to set, whatever the product.

use std::fmt::Write as _;

use ikev2::registry::TransformType;
use ikev2::{Proposal, Transform};

use super::mirror::{Mirror, joined};
use crate::config::shown_duration;

pub(super) fn text(mirror: &Mirror<'_>) -> (String, Vec<String>) {
    let or =
        |text: String, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text };
    let mut text = format!(
        "# IPsec tunnel between {} and {}\n\nPlease set this up on your gateway. Each of the algorithms is fine; the first is preferred.\n",
        mirror.gateway, mirror.peer_name
    );
    let rows = |text: &mut String, title: &str, rows: &[(&str, String)]| {
        let _ = write!(text, "\n## {title}\n\n| | |\n|---|---|\n");
        for (name, value) in rows {
            // A cell ends at a bar and at the end of the line.
            let value = value.replace('|', "\\|").replace('\n', " ");
            let _ = writeln!(text, "| {name} | {value} |");
        }
    };
    let proof = match (mirror.is_psk(), mirror.own_proof, mirror.remote_proof) {
        (true, ..) => "pre-shared key, given to you by another way".to_owned(),
        (false, yours, ours) => format!("you: {yours}; we: {ours}"),
    };
    rows(
        &mut text,
        "Gateways",
        &[
            ("Our address", our_address(mirror)),
            ("Your address", or(mirror.own.join(", "), "any")),
            ("Our identity", mirror.remote_id.clone()),
            ("Your identity", mirror.own_id.clone()),
            ("Authentication", proof),
            ("Who calls", if mirror.calls { "you".into() } else { "both may".into() }),
            ("Let through your firewall", "UDP 500 and 4500, both ways".into()),
        ],
    );
    rows(
        &mut text,
        "IKE (phase 1)",
        &[
            ("Version", "IKEv2".into()),
            ("Encryption", words(&mirror.policy.ike, TransformType::ENCR)),
            ("Integrity", or(words(&mirror.policy.ike, TransformType::INTEG), "that of the AEAD")),
            ("PRF", words(&mirror.policy.ike, TransformType::PRF)),
            ("Diffie-Hellman group", words(&mirror.policy.ike, TransformType::KE)),
            ("Proposals", joined(&mirror.policy.ike, "; ")),
            ("Lifetime", shown_duration(mirror.policy.ike_lifetime.time)),
            (
                "Dead peer detection",
                mirror.dpd.map_or("off".into(), |dpd| {
                    format!(
                        "every {}, dead after {}",
                        shown_duration(dpd.interval),
                        shown_duration(dpd.timeout)
                    )
                }),
            ),
        ],
    );
    rows(
        &mut text,
        "IPsec (phase 2)",
        &[
            ("Protocol", "ESP in tunnel mode; in UDP (NAT traversal)".into()),
            ("Encryption", words(&mirror.policy.esp, TransformType::ENCR)),
            ("Integrity", or(words(&mirror.policy.esp, TransformType::INTEG), "that of the AEAD")),
            ("PFS group", or(words(&mirror.policy.esp, TransformType::KE), "none")),
            ("Proposals", joined(&mirror.policy.esp, "; ")),
            ("Lifetime", shown_duration(mirror.policy.esp_lifetime.time)),
        ],
    );
    let _ = write!(text, "\n## Networks\n\n| yours | ours |\n|---|---|\n");
    for child in &mirror.children {
        let _ = writeln!(text, "| {} | {} |", joined(child.own, ", "), joined(child.remote, ", "));
    }
    text.push_str("\nHosts behind your gateway need a route to our networks by way of it.\n");
    (text, Vec::new())
}

fn our_address(mirror: &Mirror<'_>) -> String {
    match mirror.remote_port {
        500 => mirror.remote.clone(),
        port => format!("{}, UDP port {port}", mirror.remote),
    }
}

/// The words of one kind of algorithm in all proposals, each once; groups with their number.
fn words(all: &[Proposal], kind: TransformType) -> String {
    let mut words: Vec<String> = Vec::new();
    for transform in
        all.iter().flat_map(|proposal| &proposal.transforms).filter(|one| one.kind() == kind)
    {
        let mut word = transform.to_string();
        if let Transform::Ke(method) = transform {
            word = format!("{transform} (group {})", method.0);
        }
        if !words.contains(&word) && !word.contains("NONE") {
            words.push(word);
        }
    }
    words.join(", ")
}
