//! What happened, the configuration in force, and what came of a button.

use maud::{Markup, html};
use serde_json::Value;

use super::{Here, Scene, moment, shell};
use crate::log::Record;
use crate::status::text;

/// What happened to all.
pub(in crate::web) fn events(scene: Scene<'_>, records: &[Record]) -> String {
    let title = format!("{}: events", scene.snapshot.gateway);
    let main = html! {
        h1 { "Events" }
        p .meta { "The newest first; the last " (records.len()) " that were worth telling." }
        section .card { (event_table(records)) }
    };
    shell(scene, Here::Events, &title, None, &main)
}

/// The newest first.
pub(super) fn event_table(records: &[Record]) -> Markup {
    html! {
        @if records.is_empty() { p .nothing { "None yet." } }
        @else {
            div .wide tabindex="0" role="region" aria-label="Events" {
                table .events {
                    thead {
                        tr {
                            th scope="col" { "When" }
                            th scope="col" { "Level" }
                            th scope="col" { "Tunnel" }
                            th scope="col" { "Event" }
                            th scope="col" { "Details" }
                        }
                    }
                    tbody { @for record in records.iter().rev() { (event(record)) } }
                }
            }
        }
    }
}

fn event(record: &Record) -> Markup {
    let level = record.level.word().to_lowercase();
    html! {
        tr class=(level) {
            td .when { (moment(record.time)) }
            td { (level) }
            td { @if let Some(name) = &record.connection { a href={ "/c/" (name) } { (name) } } }
            th scope="row" { (record.event) @if let Some(code) = &record.code { " " code .code { (code) } } }
            td .fields {
                @for (name, value) in &record.fields {
                    @let text = plain(value);
                    @if !text.is_empty() { span { (name) "=" (text) } " " }
                }
            }
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The configuration in force, secrets masked.
pub(in crate::web) fn configuration(scene: Scene<'_>, changed: &Value, all: &Value) -> String {
    let title = format!("{}: configuration", scene.snapshot.gateway);
    let main = html! {
        h1 { "Configuration in force" }
        p .meta { "Keys and tokens are not shown." }
        @if scene.can_act {
            section .actions {
                (super::button("reload", "", "Read the files again", Some("Read the configuration files again and put in force what differs?")))
            }
        }
        section .card { h2 { "What is not as it is by default" } pre { (text::toml(changed)) } }
        details .card { summary { "Everything" } pre { (text::toml(all)) } }
    };
    shell(scene, Here::Configuration, &title, None, &main)
}

/// What came of a button, for browsers without a script.
pub(in crate::web) fn said(scene: Scene<'_>, went_well: bool, message: &str) -> String {
    let title =
        format!("{}: {}", scene.snapshot.gateway, if went_well { "done" } else { "not done" });
    let main = html! {
        h1 { @if went_well { "Done" } @else { "Not done" } }
        p { (super::upper(message)) "." }
        p { a href="/" { "All tunnels" } }
    };
    shell(scene, Here::Elsewhere, &title, None, &main)
}
