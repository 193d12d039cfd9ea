//! What each state makes of each kind of message, as a table in `tests/golden/transitions.txt`: a change of behaviour is
//! seen in review as a change of a line.
//!
//! ```text
//!   state × message → what became of it; stage of the SA, children | what was sent | what the caller was told
//!   GOLDEN=write cargo test -p ikev2 golden              writes the table anew
//! ```
//!
//! The messages are sealed with the keys of the other side, so they pass all gates but the last.

use std::fmt::Write as _;

use super::*;
use crate::registry::ProtocolId;

/// A state, who is in it, and the message IDs that it takes: of a request, of a response.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) end: usize,
    pub(super) ids: (u32, u32),
    pub(super) reach: fn() -> Pair,
}

pub(super) const CASES: [Case; 12] = [
    Case { name: "Knocking", end: A, ids: (0, 0), reach: Pair::new },
    Case { name: "AuthSent", end: A, ids: (0, 1), reach: || passed(2) },
    Case { name: "AuthAwaited", end: B, ids: (1, 0), reach: || passed(2) },
    Case { name: "Established", end: B, ids: (2, 0), reach: Pair::up },
    Case { name: "Established, rekeys child", end: B, ids: (2, 0), reach: rekeys_child },
    Case { name: "Established, rekeys IKE", end: B, ids: (2, 0), reach: rekeys_ike },
    Case { name: "Established, has a rival", end: B, ids: (3, 0), reach: has_rival },
    Case { name: "Established, deletes child", end: B, ids: (2, 0), reach: deletes_child },
    Case { name: "Established, asks liveness", end: B, ids: (2, 0), reach: asks_liveness },
    Case { name: "Closing, deletes", end: B, ids: (2, 0), reach: closes },
    Case { name: "Closing, lingers", end: B, ids: (3, 0), reach: lingers },
    Case { name: "Closing, replaced", end: B, ids: (3, 0), reach: replaced },
];

fn passed(number: usize) -> Pair {
    let mut pair = Pair::new();
    for _ in 0..number {
        assert_eq!(pair.pass(), Disposition::Accepted);
    }
    pair
}

fn newest_child(pair: &Pair) -> ChildId {
    *pair.ends[B].children.keys().max().unwrap()
}

fn rekeys_child() -> Pair {
    let mut pair = Pair::up();
    let child = newest_child(&pair);
    pair.ends[B].rekey_child(pair.now, child).unwrap();
    pair.drain();
    pair
}

fn rekeys_ike() -> Pair {
    let mut pair = Pair::up();
    pair.ends[B].rekey_ike(pair.now, PeerId(0)).unwrap();
    pair.drain();
    pair
}

fn has_rival() -> Pair {
    let mut pair = rekeys_ike();
    pair.ends[A].rekey_ike(pair.now, PeerId(0)).unwrap();
    pair.drain();
    // B's request waits, A's is answered.
    let (from, transmit) = pair.wire.pop_back().unwrap();
    assert_eq!(pair.deliver(from, &transmit.payload), Disposition::Accepted);
    pair
}

fn deletes_child() -> Pair {
    let mut pair = Pair::up();
    let child = newest_child(&pair);
    let (sa, mut cx) = pair.sa(B);
    sa.expire_child(child, &mut cx);
    pair.drain();
    pair
}

fn asks_liveness() -> Pair {
    let mut pair = Pair::up();
    pair.now += Duration::from_secs(31);
    pair.ends[B].handle_timeout(pair.now);
    pair.drain();
    pair
}

fn closes() -> Pair {
    let mut pair = Pair::up();
    pair.ends[B].disconnect(pair.now, PeerId(0)).unwrap();
    pair.drain();
    pair
}

fn lingers() -> Pair {
    let mut pair = Pair::up();
    pair.ends[A].disconnect(pair.now, PeerId(0)).unwrap();
    pair.drain();
    pair.pass();
    pair
}

fn replaced() -> Pair {
    let mut pair = Pair::up();
    pair.ends[A].rekey_ike(pair.now, PeerId(0)).unwrap();
    pair.drain();
    pair.pass();
    pair
}

/// What arrives.
struct Kind {
    name: &'static str,
    exchange: ExchangeType,
    response: bool,
    chain: Chain,
}

/// `asked`: what the SA waits for an answer to, if it does.
fn kinds(child: u32, asked: ExchangeType) -> Vec<Kind> {
    let kind = |name, exchange, response, build: &dyn Fn(&mut Chain)| {
        let mut chain = Chain::new();
        build(&mut chain);
        Kind { name, exchange, response, chain }
    };
    let notify = |notify| {
        move |chain: &mut Chain| {
            chain.notify(notify, &[]);
        }
    };
    let offer = |chain: &mut Chain| {
        let mut proposal = Proposal::esp_from_keywords(ESP).unwrap();
        (proposal.spi, proposal.number) = (vec![0, 0, 0x12, 0x34], 1);
        chain.sa(&[proposal]).nonce(&[7; 32]).ts_i(&[subnet(A)]).ts_r(&[subnet(B)]);
    };
    let rekey = |chain: &mut Chain| {
        chain.notify_spi(ProtocolId::ESP, &child.to_be_bytes(), NotifyType::REKEY_SA, &[]);
        offer(chain);
    };
    let ike = |chain: &mut Chain| {
        let mut proposal = Proposal::ike_from_keywords(IKE).unwrap();
        (proposal.spi, proposal.number) = (vec![9; 8], 1);
        let method = crate::registry::KeMethod::CURVE25519;
        chain.sa(&[proposal]).nonce(&[7; 32]).ke(method, &[9; 32]);
    };
    let (init, auth) = (ExchangeType::IKE_SA_INIT, ExchangeType::IKE_AUTH);
    let (create, inform) = (ExchangeType::CREATE_CHILD_SA, ExchangeType::INFORMATIONAL);
    let refused = NotifyType::NO_PROPOSAL_CHOSEN;
    let busy = NotifyType::TEMPORARY_FAILURE;
    let failed = NotifyType::AUTHENTICATION_FAILED;
    let nothing = |_: &mut Chain| {};
    let broken = |chain: &mut Chain| {
        chain.nonce(&[7; 3]);
    };
    let unknown = |chain: &mut Chain| {
        chain.unknown_critical(PayloadType(200));
    };
    vec![
        kind("IKE_SA_INIT request, sealed", init, false, &nothing),
        kind("IKE_SA_INIT answer, sealed", init, true, &nothing),
        kind("IKE_AUTH request without AUTH", auth, false, &nothing),
        kind("IKE_AUTH answer without AUTH", auth, true, &nothing),
        kind("IKE_AUTH answer AUTHENTICATION_FAILED", auth, true, &notify(failed)),
        kind("new child", create, false, &offer),
        kind("rekey child", create, false, &rekey),
        kind("rekey IKE", create, false, &ike),
        kind("CREATE_CHILD_SA request without payloads", create, false, &nothing),
        kind("CREATE_CHILD_SA answer NO_PROPOSAL_CHOSEN", create, true, &notify(refused)),
        kind("CREATE_CHILD_SA answer TEMPORARY_FAILURE", create, true, &notify(busy)),
        kind("CREATE_CHILD_SA answer without payloads", create, true, &nothing),
        kind("liveness", inform, false, &nothing),
        kind("delete child", inform, false, &|chain| {
            chain.delete_esp(&[child]);
        }),
        kind("delete IKE", inform, false, &|chain| {
            chain.delete_ike();
        }),
        kind("AUTHENTICATION_FAILED", inform, false, &notify(failed)),
        kind("INFORMATIONAL answer without payloads", inform, true, &nothing),
        kind("request that does not parse", inform, false, &broken),
        kind("answer that does not parse", asked, true, &broken),
        kind("request, unknown critical payload", inform, false, &unknown),
        kind("answer, unknown critical payload", asked, true, &unknown),
        kind("request, unknown exchange", ExchangeType(99), false, &nothing),
    ]
}

/// The SA of an end that is the oldest: the one whose state it is about.
pub(super) fn oldest(endpoint: &Endpoint) -> Option<IkeSpi> {
    endpoint.peers.iter().find_map(|peer| peer.sas.first()).copied().or_else(|| {
        let mut spis: Vec<_> = endpoint.sas.keys().copied().collect();
        spis.sort_unstable_by_key(|spi| spi.0);
        spis.first().copied()
    })
}

impl Pair {
    /// Any message at all, sealed with the keys of this SA of `from`, or in the clear if there are none.
    fn seal(&mut self, from: usize, spi: Option<IkeSpi>, id: u32, kind: &Kind) -> Vec<u8> {
        let Endpoint { sas, shared, .. } = &mut self.ends[from];
        let mut cx = Cx { now: self.now, shared };
        if let Some(sa) = spi.and_then(|spi| sas.get_mut(&spi)) {
            let id = MessageId(id);
            return sa.forge(kind.exchange, id, kind.response, &kind.chain, &mut cx).to_vec();
        }
        // The other side has no SA yet: an answer to whoever knocks, in the clear.
        let (_, knock) = self.wire.front().expect("a request");
        let header = Header::parse(&knock.payload).unwrap();
        let flags = Flags { response: kind.response, ..Flags::default() };
        let spi_r = IkeSpi(1);
        message(Header { spi_r, exchange: kind.exchange, flags, ..header }, &kind.chain)
    }

    fn tell(&mut self, payload: &[u8], to: usize) -> String {
        let header = Header::parse(payload).unwrap();
        let kind = if header.flags.response { "answer" } else { "request" };
        let mut text = format!("{} {kind} {}", header.exchange, header.message_id);
        let ours = if header.flags.initiator { header.spi_r } else { header.spi_i };
        let mut octets = payload.to_vec();
        let Some(sa) = self.ends[to].sas.get_mut(&ours) else { return text + " of another SA" };
        if header.exchange == ExchangeType::IKE_SA_INIT {
            return text;
        }
        let authentic = sa.peek(&mut octets);
        let body = Body::parse(authentic.first, authentic.plain).unwrap();
        let names = body.notifies.iter().map(|notify| notify.kind.to_string());
        let deletes = body.deletes.iter().map(|d| if d.is_ike() { "D(IKE)" } else { "D(ESP)" });
        let sa = body.sa.iter().map(|_| "SA");
        let parts: Vec<String> = names.chain(deletes.chain(sa).map(ToString::to_string)).collect();
        let _fits = write!(text, " {{{}}}", parts.join(", "));
        text
    }
}

fn tell_event(event: &Event) -> String {
    let text = format!("{event:?}");
    let name = text.split([' ', '{', '(']).next().unwrap_or_default().to_string();
    if let Event::ChildDown { reason, .. } | Event::PeerDown { reason, .. } = event {
        let reason = format!("{reason:?}");
        let reason = reason.split([' ', '{', '(']).next().unwrap_or_default();
        return format!("{name}({reason})");
    }
    name
}

fn line(case: &Case, kind: &Kind) -> String {
    let mut pair = (case.reach)();
    let (end, other) = (case.end, B - case.end);
    let spis = [oldest(&pair.ends[A]), oldest(&pair.ends[B])];
    let id = if kind.response { case.ids.1 } else { case.ids.0 };
    let message = pair.seal(other, spis[other], id, kind);
    pair.wire.clear();
    pair.events[end].clear();
    let disposition = pair.deliver(other, &message);
    let became = match disposition {
        Disposition::Accepted => "taken".to_string(),
        Disposition::Dropped(reason) => format!("dropped, {reason:?}"),
    };
    let sa = spis[end].and_then(|spi| pair.ends[end].sas.get(&spi));
    let stage = sa.map_or("forgotten".to_string(), |sa| format!("{:?}", sa.stage()));
    let children = pair.ends[end].children.len();
    let sent: Vec<_> = std::mem::take(&mut pair.wire).into_iter().collect();
    let sent = sent.into_iter().filter(|(from, _)| *from == end);
    let sent: Vec<String> = sent.map(|(_, t)| pair.tell(&t.payload, other)).collect();
    let events: Vec<String> = pair.events[end].iter().map(tell_event).collect();
    format!(
        "{} × {} → {became}; {stage}, {children} | {} | {}",
        case.name,
        kind.name,
        sent.join(", "),
        events.join(", ")
    )
}

#[test]
fn every_state_takes_every_message_as_the_golden_table_says() {
    let mut table = String::from(
        "# state × message → what became of it; stage of the SA, children | sent | events\n",
    );
    for case in &CASES {
        let up = (case.reach)();
        let child = up.events[case.end].iter().find_map(|event| {
            let Event::ChildUp { child, .. } = event else { return None };
            Some(child.spi_out.0.get())
        });
        let requests = up.wire.iter().filter(|(from, _)| *from == case.end);
        let mut requests = requests.map(|(_, sent)| Header::parse(&sent.payload).unwrap());
        let asked = requests.rfind(|header| !header.flags.response);
        let asked = asked.map_or(ExchangeType::INFORMATIONAL, |header| header.exchange);
        for kind in kinds(child.unwrap_or(0x1234), asked) {
            table += line(case, &kind).trim_end();
            table.push('\n');
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/transitions.txt");
    if std::env::var_os("GOLDEN").is_some_and(|what| what == "write") {
        std::fs::write(path, &table).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    for (ours, theirs) in table.lines().zip(golden.lines()) {
        assert_eq!(ours, theirs, "GOLDEN=write cargo test -p ikev2 golden writes the table anew");
    }
    assert_eq!(table.lines().count(), golden.lines().count());
}
