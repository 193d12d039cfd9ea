//! The tables of `s2s-gw show` for people. The widest column gives way where a terminal is too narrow for all of them.

use std::fmt::Write as _;

use super::super::show::{AlgorithmRow, Counted, Table};
use super::super::words;
use super::{fold, width};

/// A table in lines of at most `columns`.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one arm for each table, and nothing else")]
pub fn table(table: &Table, columns: Option<usize>) -> String {
    match table {
        Table::Sas { sas } => {
            let heads = [
                "CONNECTION",
                "CHILD",
                "STATE",
                "SPI IN",
                "SPI OUT",
                "CARRIED",
                "REKEY",
                "PEER",
                "ALGORITHMS",
            ];
            let rows = sas.iter().map(|sa| {
                let of_worker = sa.worker.map(|worker| format!(" (worker {worker})"));
                [
                    sa.connection.clone(),
                    sa.child.clone().unwrap_or_else(|| "(IKE)".into())
                        + &of_worker.unwrap_or_default(),
                    sa.state.clone(),
                    sa.spi_in.clone(),
                    sa.spi_out.clone(),
                    sa.child.as_ref().map_or_else(|| "-".into(), |_| words::octets(sa.bytes)),
                    words::seconds(sa.rekey_in_seconds),
                    sa.peer.clone().unwrap_or_else(|| "-".into()),
                    sa.suite.clone(),
                ]
            });
            grid(heads, &rows.collect::<Vec<_>>(), columns, "no SA")
        }
        Table::Policies { policies } => {
            let heads = ["LOCAL", "REMOTE", "METRIC", "CONNECTION", "CHILD", "ACTION"];
            let rows = policies.iter().map(|row| {
                let [local, remote] = [&row.local, &row.remote].map(Clone::clone);
                let metric = row.metric.to_string();
                [
                    local,
                    remote,
                    metric,
                    row.connection.clone(),
                    row.child.clone(),
                    row.action.clone(),
                ]
            });
            grid(heads, &rows.collect::<Vec<_>>(), columns, "no policy")
        }
        Table::Routes { routes } => {
            let heads = ["DESTINATION", "DEVICE", "METRIC", "SOURCE", "MTU", "CONNECTION", "STATE"];
            let rows = routes.iter().map(|row| {
                let mtu = row.mtu.map_or_else(|| "-".into(), |mtu| mtu.to_string());
                [
                    row.destination.clone(),
                    row.device.clone(),
                    row.metric.to_string(),
                    row.source.clone().unwrap_or_else(|| "-".into()),
                    mtu,
                    row.connection.clone(),
                    row.state.clone(),
                ]
            });
            grid(heads, &rows.collect::<Vec<_>>(), columns, "no route")
        }
        Table::Counters { children, drops_esp, drops_ike, .. } => {
            let heads =
                ["CONNECTION", "CHILD", "RX PACKETS", "RX", "TX PACKETS", "TX", "DROPPED", "SINCE"];
            let rows = children.iter().map(|row| {
                let Counted { rx_packets, rx_bytes, tx_packets, tx_bytes, drops } =
                    &row.since_reset;
                [
                    row.connection.clone(),
                    row.child.clone(),
                    rx_packets.to_string(),
                    words::octets(*rx_bytes),
                    tx_packets.to_string(),
                    words::octets(*tx_bytes),
                    dropped(drops),
                    row.reset_seconds.map_or_else(|| "start".into(), words::seconds),
                ]
            });
            let mut text = grid(heads, &rows.collect::<Vec<_>>(), columns, "no child");
            for (what, drops) in [("packets", drops_esp), ("IKE datagrams", drops_ike)] {
                if !drops.is_empty() {
                    let _ = writeln!(text, "dropped {what}: {}", listed(drops));
                }
            }
            text
        }
        Table::Listeners { listeners } => {
            let rows = listeners
                .iter()
                .map(|row| [row.kind.clone(), row.protocol.clone(), row.address.clone()]);
            grid(["FOR", "PROTOCOL", "ADDRESS"], &rows.collect::<Vec<_>>(), columns, "no listener")
        }
        Table::Algorithms { algorithms } => {
            let row = |row: &AlgorithmRow| {
                let words = [std::slice::from_ref(&row.keyword), &row.aliases].concat();
                let level =
                    |proposal| row.levels.get(proposal).map_or("-", String::as_str).to_owned();
                let needs = row.needs.clone().unwrap_or_default();
                let (kind, name) = (row.kind.clone(), row.name.clone());
                [kind, words.join(", "), name, level("ike"), level("esp"), needs]
            };
            let heads = ["KIND", "KEYWORDS", "NAME", "IKE", "ESP", "NEEDS"];
            grid(heads, &algorithms.iter().map(row).collect::<Vec<_>>(), columns, "none")
        }
        Table::Config { config, .. } => toml(config),
    }
}

/// A part of the configuration as TOML.
#[must_use]
pub fn toml(config: &serde_json::Value) -> String {
    toml::to_string(config)
        .unwrap_or_else(|error| format!("# it cannot be written as TOML: {error}\n"))
}

fn dropped(drops: &std::collections::BTreeMap<String, u64>) -> String {
    match drops.values().sum::<u64>() {
        0 => "0".to_owned(),
        sum => format!("{sum} ({})", listed(drops)),
    }
}

fn listed(drops: &std::collections::BTreeMap<String, u64>) -> String {
    drops.iter().map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", ")
}

/// Rows under their headings.
fn grid<const N: usize>(
    heads: [&str; N],
    rows: &[[String; N]],
    columns: Option<usize>,
    none: &str,
) -> String {
    if rows.is_empty() {
        return format!("{none}\n");
    }
    let heads = heads.map(str::to_owned);
    let mut widths: [usize; N] = std::array::from_fn(|index| {
        let cells = rows.iter().chain([&heads]).filter_map(|row| row.get(index));
        cells.map(|cell| width(cell)).max().unwrap_or(0)
    });
    let whole = |widths: &[usize; N]| widths.iter().sum::<usize>() + 2 * N.saturating_sub(1);
    if let Some(columns) = columns.filter(|columns| whole(&widths) > columns + columns / 4) {
        return cards(&heads, rows, columns);
    }
    while columns.is_some_and(|columns| whole(&widths) > columns) {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > LEAST) else { break };
        *widest -= 1;
    }
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (cell, wide) in row.iter().zip(widths) {
            let length = width(cell);
            if length > wide {
                line.extend(cell.chars().take(wide.saturating_sub(1)));
                line.push('…');
            } else {
                line.push_str(cell);
            }
            line.extend(std::iter::repeat_n(' ', wide.saturating_sub(length) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Each row by itself, where so much would have to be cut that nothing is told.
fn cards<const N: usize>(heads: &[String; N], rows: &[[String; N]], columns: usize) -> String {
    let card = |row: &[String; N]| {
        let each = heads.iter().zip(row).enumerate().map(|(index, (head, cell))| match index {
            0 => cell.clone(),
            _ => format!("{} {cell}", head.to_lowercase()),
        });
        fold::hanging(&each.collect::<Vec<_>>().join("  "), columns, 4) + "\n"
    };
    rows.iter().map(card).collect()
}

/// A cell that is cut shorter says nothing.
const LEAST: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_column_gives_way() {
        let rows = vec![["a".to_owned(), "a rather long cell".to_owned(), "end".to_owned()]];
        let wide = grid(["X", "Y", "Z"], &rows, None, "-");
        assert_eq!(wide, "X  Y                   Z\na  a rather long cell  end\n");
        let narrow = grid(["X", "Y", "Z"], &rows, Some(24), "-");
        assert_eq!(narrow, "X  Y                 Z\na  a rather long c…  end\n");
        let cards = grid(["X", "Y", "Z"], &rows, Some(16), "-");
        assert_eq!(cards, "a  y a rather\n    long cell  z\n    end\n");
        assert_eq!(grid(["X"], &[], None, "nothing"), "nothing\n");
    }

    #[test]
    fn what_was_counted_before_a_reset_is_not_counted() {
        let counted = |rx_packets, replayed: u64| Counted {
            rx_packets,
            drops: [("replayed".to_owned(), replayed)].into(),
            ..Counted::default()
        };
        let since = counted(10, 7).since(&counted(4, 5));
        assert_eq!((since.rx_packets, dropped(&since.drops)), (6, "2 (replayed 2)".into()));
        let since = counted(10, 7).since(&counted(10, 7));
        assert_eq!((since.rx_packets, dropped(&since.drops)), (0, "0".into()));
    }
}
