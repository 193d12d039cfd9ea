//! A line for each connection with tabs between, and a line of names before: for `awk`, `cut` and `sort`.
//!
//! Columns are only ever added, at the end. An empty cell is a thing that is not known, or that is not.

use super::super::ConnectionStatus;

/// All connections, or those that are given.
#[must_use]
pub fn plain<'s>(connections: impl IntoIterator<Item = &'s ConnectionStatus>) -> String {
    let mut text = NAMES.join("\t") + "\n";
    for connection in connections {
        text += &row(connection).map(clean).join("\t");
        text.push('\n');
    }
    text
}

const NAMES: [&str; 15] = [
    "name",
    "state",
    "since_seconds",
    "peer",
    "local",
    "remote",
    "rx_bytes",
    "tx_bytes",
    "rx_packets",
    "tx_packets",
    "last_rx_seconds",
    "last_tx_seconds",
    "rtt_seconds",
    "reason",
    "retry_in_seconds",
];

fn row(connection: &ConnectionStatus) -> [String; NAMES.len()] {
    let children = &connection.children;
    let sum = |of: fn(&super::super::ChildStatus) -> u64| -> String {
        children.iter().map(of).sum::<u64>().to_string()
    };
    let latest = |of: fn(&super::super::ChildStatus) -> Option<f64>| {
        text(children.iter().filter_map(of).reduce(f64::min))
    };
    let list = |of: fn(&super::super::ChildStatus) -> &Vec<String>| {
        let mut all: Vec<&str> = children.iter().flat_map(of).map(String::as_str).collect();
        all.dedup();
        all.join(",")
    };
    let peer = &connection.peer;
    [
        connection.name.clone(),
        connection.state.word().to_owned(),
        connection.since_seconds.to_string(),
        peer.active.clone().unwrap_or_else(|| peer.configured.join(",")),
        list(|child| &child.local),
        list(|child| &child.remote),
        sum(|child| child.rx_bytes),
        sum(|child| child.tx_bytes),
        sum(|child| child.rx_packets),
        sum(|child| child.tx_packets),
        latest(|child| child.last_rx_seconds),
        latest(|child| child.last_tx_seconds),
        text(peer.rtt_seconds),
        text(connection.reason.as_ref().map(|reason| &reason.code)),
        text(connection.retry_in_seconds),
    ]
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// No cell ends a line or begins another cell.
fn clean(cell: String) -> String {
    if cell.contains(char::is_control) { cell.replace(char::is_control, " ") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::super::super::Snapshot;
    use super::super::super::tests::sample;
    use super::*;

    #[test]
    fn every_line_has_as_many_cells_as_there_are_names() {
        let Snapshot { mut connections, .. } = sample();
        connections[1].name = "pa\tris\n".into();
        let text = plain(&connections);
        let expected = [
            NAMES.join("\t"),
            "berlin\tup\t93600\t198.51.100.20:4500\t10.1.0.0/16,10.9.0.0/24\t10.2.0.0/16\t100873012\t52428800\t100000\t60000\t0.2\t0.1\t0.011\t\t".into(),
            "pa ris \tdown\t12\tparis.example.com\t10.1.0.0/16,10.9.0.0/24\t10.2.0.0/16\t100873012\t52428800\t100000\t60000\t\t\t\tE1003\t12".into(),
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
