//! Daemons that are none: one that says always the same, and one that repeats a line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Output;

use gateway::status::Snapshot;
use gateway::status::protocol::{RefusalKind, Request, Response, Topic};
use gateway::status::show::Table;

use crate::{Place, run, text};

/// A daemon that says always the same: one connection, `paris`, that is down.
pub(crate) struct FakeDaemon {
    pub(crate) place: Place,
}

impl FakeDaemon {
    pub(crate) fn start() -> Self {
        let place = Place::new();
        let listener = UnixListener::bind(place.path("fake.sock")).expect("binds");
        // It ends with the process; every client makes a connection of its own.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut line = String::new();
                let _ = BufReader::new(&client).read_line(&mut line);
                let answer = match Request::parse(line.as_bytes()).expect("a request") {
                    Request::Status => Response::Status { snapshot: Box::new(snapshot()) },
                    Request::Up { name } | Request::Restart { name } if name == "paris" => {
                        Response::Done { message: "paris is connecting".into() }
                    }
                    Request::Redirect { to, names } => {
                        Response::Done { message: format!("{to:?} for {names:?}") }
                    }
                    Request::Rekey { name, .. } if name == "paris" => Response::Refused {
                        kind: RefusalKind::NotNow,
                        message: "paris is not up".into(),
                    },
                    Request::Up { .. }
                    | Request::Down { .. }
                    | Request::Restart { .. }
                    | Request::Rekey { .. } => Response::Refused {
                        kind: RefusalKind::UnknownName,
                        message: "no such connection".into(),
                    },
                    Request::Show { what } => Response::Shown { table: Box::new(shown(what)) },
                    Request::Reset { connection } => Response::Done {
                        message: format!("the counters of {connection:?} begin anew"),
                    },
                    Request::Reload { .. }
                    | Request::Explain(_)
                    | Request::Failover { .. }
                    | Request::Events { .. }
                    | Request::Capture { .. }
                    | Request::Keys { .. }
                    | Request::Export { .. }
                    | Request::LogLevel { .. } => Response::Refused {
                        kind: RefusalKind::NotSupported,
                        message: "not here".into(),
                    },
                };
                let _ = (&client).write_all(&answer.to_line());
            }
        });
        Self { place }
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        run(&[arguments, &["--control", text(&self.place.path("fake.sock"))]].concat())
    }
}

fn shown(what: Topic) -> Table {
    let json = match what {
        Topic::Sas => serde_json::json!({ "schema": "s2s-gw/show-sas/1", "sas": [] }),
        Topic::Config => serde_json::json!({
            "schema": "s2s-gw/show-config/1", "config": { "gateway": { "name": "fra1" } },
            "effective": { "gateway": { "name": "fra1", "ike_port": 500 } },
        }),
        Topic::Policies | Topic::Routes | Topic::Counters | Topic::Listeners => {
            serde_json::json!({ "schema": "s2s-gw/show-routes/1", "routes": [] })
        }
    };
    serde_json::from_value(json).expect("a table")
}

pub(crate) fn snapshot() -> Snapshot {
    serde_json::from_value(serde_json::json!({
        "schema": "s2s-gw/status/1", "gateway": "fra1", "version": "0.1.0", "pid": 1,
        "time": "2026-11-20T08:01:21Z", "uptime_seconds": 60, "external": [],
        "tun": { "name": "s2s0", "mtu": 1406 }, "drops": { "esp": {}, "ike": {} },
        "connections": [{
            "name": "paris", "description": null, "state": "down", "since": "2026-11-20T08:01:09Z",
            "since_seconds": 12, "desired_up": true, "vpnaas_status": "DOWN",
            "cloudstack_state": "Disconnected", "attempt": null, "retry_in_seconds": 12,
            "reason": { "code": "E1001", "alert": "peer-init-unreachable",
                        "message": "the peer did not answer IKE_SA_INIT", "fix": "check the address" },
            "policy": "default", "ike": null, "routes": [], "children": [],
            "peer": { "configured": ["paris.example.com"], "active": null, "local": null, "nat": false,
                      "nat_local": false, "nat_remote": false, "rtt_seconds": null },
        }],
    }))
    .expect("a snapshot of schema 1")
}

/// A daemon that gives this answer to everything.
pub(crate) fn parrot(place: &Place, answer: &'static str) -> PathBuf {
    let socket = place.path("parrot.sock");
    let listener = UnixListener::bind(&socket).expect("binds");
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let _ = BufReader::new(&client).read_line(&mut String::new());
            let _ = writeln!(&client, "{answer}");
        }
    });
    socket
}
