//! The control protocol: one JSON object per line in each direction, one answer per request, over a unix stream socket.
//!
//! ```text
//!   {"command":"status"}                          ──►  {"result":"status","snapshot":{..}}
//!   {"command":"up","name":"berlin"}              ──►  {"result":"done","message":"berlin: connecting"}
//!   {"command":"rekey","name":"x","ike":true}     ──►  {"result":"refused","kind":"unknown-name","message":".."}
//! ```
//!
//! A request is at most [`MAX_REQUEST_LEN`] octets with its line end. Requests on one connection are answered in order.

use serde::{Deserialize, Serialize};

use super::Snapshot;

/// The longest request that the daemon reads, octets.
pub const MAX_REQUEST_LEN: usize = 4096;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// A [`Snapshot`].
    Status,
    /// Bring a connection up, also one that `down` or the configuration switched off.
    Up {
        /// Of the connection.
        name: String,
    },
    /// Take a connection down and keep it down.
    Down {
        /// Of the connection.
        name: String,
    },
    /// Take a connection down and bring it up again.
    Restart {
        /// Of the connection.
        name: String,
    },
    /// Replace the SAs of a connection, make before break.
    Rekey {
        /// Of the connection.
        name: String,
        /// True: the IKE SA. False: every child SA.
        #[serde(default)]
        ike: bool,
    },
    /// Send the peers of connections to another gateway (RFC 5685), now and whenever they call, or let them stay again.
    Redirect {
        /// Its address or name; `None`: they may stay.
        to: Option<String>,
        /// Of the connections; all if empty.
        #[serde(default)]
        names: Vec<String>,
    },
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Response {
    /// The answer to [`Request::Status`].
    Status {
        /// The state of everything.
        snapshot: Box<Snapshot>,
    },
    /// It was done, or has begun.
    Done {
        /// A sentence about it.
        message: String,
    },
    /// It was not done.
    Refused {
        /// Why, for programs.
        kind: RefusalKind,
        /// Why, for people.
        message: String,
    },
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// No connection has this name.
    UnknownName,
    /// It does not fit the state: rekeying what is down.
    NotNow,
    /// The request makes no sense.
    BadRequest,
}

impl Response {
    /// The answer as one line.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_else(|_| {
            br#"{"result":"refused","kind":"bad-request","message":"no answer"}"#.to_vec()
        });
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn requests_are_what_the_documentation_says() {
        let cases = [
            (r#"{"command":"status"}"#, Request::Status),
            (r#"{"command":"up","name":"a"}"#, Request::Up { name: "a".into() }),
            (r#"{"command":"rekey","name":"a"}"#, Request::Rekey { name: "a".into(), ike: false }),
            (
                r#"{"command":"rekey","name":"a","ike":true}"#,
                Request::Rekey { name: "a".into(), ike: true },
            ),
        ];
        for (line, request) in cases {
            assert_eq!(serde_json::from_str::<Request>(line).expect(line), request);
        }
        for line in ["", "{}", r#"{"command":"up"}"#, r#"{"command":"reboot"}"#, "[1]"] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn an_answer_is_one_line() {
        let response = Response::Status { snapshot: Box::new(sample()) };
        let line = response.to_line();
        let end = line.iter().position(|octet| *octet == b'\n');
        assert_eq!(end, Some(line.len() - 1));
        assert_eq!(serde_json::from_slice::<Response>(&line).expect("parses"), response);
    }
}
