//! Paths, and what each of them answers.
//!
//! ```text
//!   /  /c/NAME  /events  /config     pages                          /assets/..   what they need
//!   /explain  /c/NAME/peer           forms, whose answer comes from control (questions.rs)
//!   /metrics                         for Prometheus                 /healthz  /readyz
//!   /api/v1/status  events  config  explain   JSON                          /api/v1/stream   what changes, as it does
//!   POST /api/v1/do                  command=up&name=berlin         with the token of `admin_token`
//! ```

use std::time::Instant;

use serde_json::json;

use super::access::Access;
use super::http::{HTML, JSON, METRICS, Method, Request, Response, TEXT};
use super::hub::{self, Hub, View};
use super::page::{self, Scene};
use super::questions::{self, Question};
use crate::log::Record;
use crate::metrics::{self, Process};
use crate::status::protocol::{self, RefusalKind, Topic};
use crate::status::reload::Outcome;
use crate::status::show::Table;
use crate::status::{ConnectionStatus, Snapshot};

/// What a request leads to.
#[derive(Debug)]
pub(super) enum Answer {
    /// This.
    Now(Response),
    /// Control has to be asked first.
    Ask(protocol::Request, Asked),
    /// News without end.
    Stream(View),
}

/// What is made of the answer of control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    ConfigPage,
    ConfigJson,
    /// What a form asked.
    Question(Question),
    /// A button was pressed; whether a program pressed it.
    Done {
        json: bool,
    },
}

/// Answers.
pub(super) fn answer(request: &Request, hub: &Hub, access: &Access, now: Instant) -> Answer {
    match try_answer(request, hub, access, now) {
        Ok(answer) => answer,
        Err(refusal) => Answer::Now(refusal),
    }
}

fn try_answer(
    request: &Request,
    hub: &Hub,
    access: &Access,
    now: Instant,
) -> Result<Answer, Response> {
    let path = request.path.as_str();
    let is_post = request.method == Method::Post;
    // These say nothing about anybody.
    match path {
        "/healthz" => return Ok(Answer::Now(Response::say(200, "ok"))),
        "/readyz" => return Ok(Answer::Now(ready(hub, now))),
        _ => {}
    }
    access.check_host(request)?;
    if let Some((_, kind, text)) = page::ASSETS.iter().find(|(asset, ..)| *asset == path) {
        let asset = Response::new(200, kind, *text).with("Cache-Control", "public, max-age=86400");
        return Ok(Answer::Now(asset));
    }
    access.check_look(request)?;
    if path == "/api/v1/do" {
        access.check_act(request)?;
        let asked = command(request)?;
        return Ok(Answer::Ask(asked, Asked::Done { json: request.wants_json }));
    }
    if is_post {
        return Err(Response::say(405, "there is nothing to change here"));
    }
    match path {
        "/config" => return Ok(Answer::Ask(SHOW_CONFIG, Asked::ConfigPage)),
        "/api/v1/config" => return Ok(Answer::Ask(SHOW_CONFIG, Asked::ConfigJson)),
        "/api/v1/events" => return events_json(request, hub).map(Answer::Now),
        "/explain" | "/api/v1/explain" => {
            let snapshot = hub.snapshot(now).ok_or_else(not_ready)?;
            return questions::explain(request, Scene { snapshot, can_act: access.can_act() });
        }
        _ => {}
    }
    let snapshot = hub.snapshot(now).ok_or_else(not_ready)?;
    let scene = Scene { snapshot, can_act: access.can_act() };
    let response = match path {
        "/" => html(page::overview(scene, &hub.history, request.asked("q"))),
        "/events" => html(page::events(scene, &hub::records(None, EVENTS))),
        "/metrics" => {
            let process = Process::of(std::process::id());
            Response::new(200, METRICS, metrics::text(snapshot, &process))
        }
        "/api/v1/status" => status_json(request, snapshot)?,
        "/api/v1/stream" => return stream(request, hub),
        _ => match path.strip_prefix("/c/").and_then(|name| named(hub, name)) {
            Some((connection, true)) => return questions::peer(request, connection),
            Some((connection, false)) => {
                let name = &connection.name;
                let (flow, day) = (hub.history.of(name), hub.history.day_of(name));
                let records = hub::records(Some(name), hub::SHOWN);
                html(page::detail(scene, connection, [&flow, &day], &records))
            }
            None => return Err(Response::say(404, "there is no such page; / has all tunnels")),
        },
    };
    Ok(Answer::Now(response))
}

/// The connection of `NAME` or `NAME/peer`, and whether its peer is meant.
fn named<'h>(hub: &'h Hub, name: &str) -> Option<(&'h ConnectionStatus, bool)> {
    let of_peer = name.strip_suffix("/peer");
    Some((hub.connection(of_peer.unwrap_or(name))?, of_peer.is_some()))
}

/// What is made of what control says.
pub(super) fn answered(
    said: protocol::Response,
    asked: Asked,
    hub: &Hub,
    access: &Access,
    now: Instant,
) -> Response {
    let scene = || Some(Scene { snapshot: hub.snapshot(now)?, can_act: access.can_act() });
    match (asked, said) {
        (Asked::ConfigPage, protocol::Response::Shown { table }) => match (*table, scene()) {
            (Table::Config { config, effective }, Some(scene)) => {
                html(page::configuration(scene, &config, &effective))
            }
            _ => not_ready(),
        },
        (Asked::ConfigJson, protocol::Response::Shown { table }) => Response::json(&table),
        (Asked::ConfigPage | Asked::ConfigJson, _) => not_ready(),
        (Asked::Question(question), said) => match scene() {
            Some(scene) => questions::answered(scene, &question, said),
            None => not_ready(),
        },
        (Asked::Done { json }, said) => {
            let (status, message) = outcome(said);
            let went_well = status == 200;
            match (json, scene()) {
                (false, Some(scene)) => {
                    Response { status, ..html(page::said(scene, went_well, &message)) }
                }
                (false, None) => Response::new(status, TEXT, message + "\n"),
                (true, _) => {
                    let body = json!({ "done": went_well, "message": message });
                    Response { status, kind: JSON, ..Response::json(&body) }
                }
            }
        }
    }
}

/// How a command went: status and sentence.
fn outcome(said: protocol::Response) -> (u16, String) {
    match said {
        protocol::Response::Done { message } => (200, message),
        protocol::Response::Reload { report } => {
            let good = matches!(report.outcome, Outcome::Applied | Outcome::Planned);
            (if good { 200 } else { 409 }, report.sentence())
        }
        protocol::Response::Refused { kind, message } => {
            let status = match kind {
                RefusalKind::UnknownName => 404,
                RefusalKind::BadRequest => 400,
                RefusalKind::Permission => 403,
                RefusalKind::NotNow
                | RefusalKind::UnknownRequest
                | RefusalKind::NotSupported
                | RefusalKind::Other => 409,
            };
            (status, message)
        }
        protocol::Response::Status { .. }
        | protocol::Response::Shown { .. }
        | protocol::Response::Explained { .. }
        | protocol::Response::Events { .. }
        | protocol::Response::Capturing { .. }
        | protocol::Response::Packets { .. }
        | protocol::Response::Keys { .. } => (500, "the gateway said something else".to_owned()),
    }
}

/// The command of a form: those alone that a page has buttons for.
fn command(request: &Request) -> Result<protocol::Request, Response> {
    let name = request.field("name").unwrap_or_default().to_owned();
    let to = request.field("to").filter(|to| !to.is_empty()).map(str::to_owned);
    let command = request.field("command").unwrap_or_default();
    let asked = match command {
        "up" => protocol::Request::Up { name },
        "down" => protocol::Request::Down { name },
        "restart" => protocol::Request::Restart { name },
        "rekey" => protocol::Request::Rekey { name, ike: request.field("ike") == Some("true") },
        "failover" => protocol::Request::Failover { connection: name, to, probe: false },
        "reload" => protocol::Request::Reload { dry_run: false, now: false },
        _ => {
            return Err(Response::say(
                400,
                "`command` is one of up, down, restart, rekey, failover and reload",
            ));
        }
    };
    let what = request.field("name").unwrap_or_default();
    tracing::info!(target: "web", event = "command", command, what);
    Ok(asked)
}

fn ready(hub: &Hub, now: Instant) -> Response {
    match hub.snapshot(now) {
        Some(_) => Response::say(200, "ready"),
        None => not_ready(),
    }
}

pub(super) fn not_ready() -> Response {
    Response::say(503, "the gateway does not answer at this moment")
}

pub(super) fn html(text: String) -> Response {
    Response::new(200, HTML, text)
}

fn status_json(request: &Request, snapshot: &Snapshot) -> Result<Response, Response> {
    let Some(name) = request.asked("connection") else { return Ok(Response::json(snapshot)) };
    let mut one = snapshot.clone();
    one.connections.retain(|connection| connection.name == name);
    if one.connections.is_empty() { Err(no_such_connection()) } else { Ok(Response::json(&one)) }
}

fn events_json(request: &Request, hub: &Hub) -> Result<Response, Response> {
    let name = request.asked("connection");
    if name.is_some_and(|name| hub.connection(name).is_none()) {
        return Err(no_such_connection());
    }
    let events: Vec<Record> = hub::records(name, EVENTS);
    Ok(Response::json(&json!({ "schema": "s2s-gw/events/1", "events": events })))
}

fn stream(request: &Request, hub: &Hub) -> Result<Answer, Response> {
    if request.method == Method::Head {
        return Err(Response::say(405, "a stream has no end, and so no head alone"));
    }
    match request.asked("connection") {
        None => Ok(Answer::Stream(View::Overview)),
        Some(name) if hub.connection(name).is_some() => {
            Ok(Answer::Stream(View::Detail(name.to_owned())))
        }
        Some(_) => Err(no_such_connection()),
    }
}

fn no_such_connection() -> Response {
    Response::say(404, "there is no such connection")
}

const SHOW_CONFIG: protocol::Request = protocol::Request::Show { what: Topic::Config };

/// Events on their page and in the answer of the API.
const EVENTS: usize = 300;
