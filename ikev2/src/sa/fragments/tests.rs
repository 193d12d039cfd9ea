//! How long a message may be, and that what is cut again is cut into more.

use std::net::IpAddr;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::config::EndpointConfig;
use crate::crypto::keymat::IkeKeys;
use crate::crypto::suite::IkeSuite;
use crate::registry::{EncrId, KeMethod, PrfId};
use crate::shared::Outbox;
use crate::wire::header::{Flags, IkeSpi, MessageId};

fn shared() -> Shared {
    Shared {
        config: EndpointConfig::default(),
        peers: Vec::new(),
        rng: rng(),
        wall_clock: None,
        out: Outbox::default(),
        next_child: 0,
        esp_spis: std::collections::HashSet::new(),
        key_exchanges: 0,
        packets: std::collections::HashMap::new(),
        paces: std::collections::HashMap::new(),
        picky: None,
    }
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([3; 32])
}

fn path(ip: &str, port: u16) -> Path {
    let address = std::net::SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port);
    Path { local: address, remote: address }
}

fn agreed(v4: u16, v6: u16) -> Fragments {
    Fragments { agreed: Some(FragmentSizes { v4, v6 }), ..Fragments::none() }
}

/// RFC 7383, appendix B.
#[test]
fn the_headers_and_the_marker_count() {
    let room = |sizes: &Fragments, ip, port| {
        sizes.room(path(ip, port), &shared()).map(|room| (room.usual, room.least))
    };
    let usual = agreed(1280, 1280);
    assert_eq!(room(&usual, "192.0.2.1", 500), Some((1280 - 28, 576 - 28)));
    assert_eq!(room(&usual, "192.0.2.1", 4500), Some((1280 - 32, 576 - 32)));
    assert_eq!(room(&usual, "2001:db8::1", 500), Some((1280 - 48, 1280 - 48)));
    assert_eq!(room(&usual, "2001:db8::1", 4500), Some((1280 - 52, 1280 - 52)));
    assert_eq!(room(&agreed(400, 1400), "192.0.2.1", 500), Some((400 - 28, 400 - 28)));
    assert_eq!(room(&agreed(400, 1400), "2001:db8::1", 500), Some((1400 - 48, 1280 - 48)));
    assert_eq!(room(&Fragments::none(), "192.0.2.1", 500), None);
    let mut narrow = agreed(1280, 1500);
    narrow.stay_narrow();
    assert_eq!(room(&narrow, "192.0.2.1", 500), Some((576 - 28, 576 - 28)));
    assert_eq!(room(&narrow.successor(), "2001:db8::1", 500), Some((1280 - 48, 1280 - 48)));
}

#[test]
fn an_answer_is_as_long_as_its_request_but_for_the_bounds() {
    let room = Room { usual: 1252, least: 548 };
    for (longest, expected) in
        [(None, 1252), (Some(9000), 1252), (Some(1000), 1000), (Some(548), 548), (Some(90), 548)]
    {
        assert_eq!(room.for_answer(longest).usual(), expected, "{longest:?}");
    }
}

fn protection() -> Protection {
    let suite = IkeSuite {
        encr: EncrId::AES_GCM_16,
        key_bits: 256,
        prf: PrfId::HMAC_SHA2_256,
        integ: None,
        ke: KeMethod::CURVE25519,
        additional: crate::AdditionalKe::NONE,
    };
    let keys = IkeKeys::initial(&suite, b"secret", b"i", b"r", IkeSpi(1), IkeSpi(2));
    Protection::new(&suite, &keys, true)
}

fn parcel(len: usize, room: Option<Room>, protection: &mut Protection) -> Parcel {
    let mut chain = Chain::new();
    chain.notify(NotifyType(40_000), &vec![7; len - 8]);
    let header = Header {
        spi_i: IkeSpi(1),
        spi_r: IkeSpi(2),
        next_payload: PayloadType::NONE,
        version: Header::VERSION,
        exchange: ExchangeType::INFORMATIONAL,
        flags: Flags::default(),
        message_id: MessageId(0),
        len: 0,
    };
    Parcel::seal(header, &chain, room, protection, &mut rng())
}

#[test]
fn a_message_that_fits_is_whole_and_keeps_no_copy() {
    let mut protection = protection();
    let room = Room { usual: 1252, least: 548 };
    let whole_len = |plain_len: usize| 28 + 4 + 8 + plain_len + 1 + 16;
    for (len, room, pieces, copy) in [
        (548 - 57, Some(room), 1, false),
        (548 - 56, Some(room), 1, true),
        (1252 - 57, Some(room), 1, true),
        (1252 - 56, Some(room), 2, true),
        (5000, None, 1, false),
        (5000, Some(Room { usual: 548, least: 548 }), 11, false),
    ] {
        let parcel = parcel(len, room, &mut protection);
        assert_eq!((parcel.datagrams().len(), parcel.content.is_some()), (pieces, copy), "{len}");
        if pieces == 1 {
            assert_eq!(parcel.datagrams()[0].len(), whole_len(len));
        }
    }
}

/// RFC 7383 §2.5.2: "the sender MUST ensure that the value in the Total Fragments field is really increased".
#[test]
fn it_is_cut_anew_only_into_more() {
    let mut protection = protection();
    let room = Room { usual: 1252, least: 548 };
    let mut shrink = |parcel: &mut Parcel, to| {
        let before = parcel.datagrams();
        let done = parcel.shrink(to, &mut protection, &mut rng());
        let after = parcel.datagrams();
        assert_eq!(done, after.len() > before.len());
        assert_eq!(!done, after == before, "else it is the same octets");
        assert!(!done || after.iter().all(|datagram| datagram.len() <= to));
        after.len()
    };
    let mut long = parcel(3000, Some(room), &mut self::protection());
    assert_eq!(long.datagrams().len(), 3);
    for (to, pieces) in [(5000, 3), (1252, 3), (1240, 3), (548, 7), (548, 7), (1000, 7), (300, 13)]
    {
        assert_eq!(shrink(&mut long, to), pieces, "{to}");
    }
    let mut whole = parcel(600, Some(room), &mut self::protection());
    assert_eq!(shrink(&mut whole, 548), 2);
    let mut short = parcel(300, Some(room), &mut self::protection());
    assert_eq!(shrink(&mut short, 200), 1, "it passes everywhere");
}

#[test]
fn the_settings_of_several_peers_at_one_address_are_joined() {
    let on = |v4, v6| Fragmentation::On(FragmentSizes { v4, v6 });
    let common = |all: &[Fragmentation]| Fragmentation::common(all.iter().copied());
    assert_eq!(common(&[Fragmentation::Off, Fragmentation::Off]), Fragmentation::Off);
    assert_eq!(common(&[Fragmentation::Off, on(600, 1300)]), on(600, 1300));
    assert_eq!(common(&[on(600, 1300), Fragmentation::Off]), on(600, 1300));
    assert_eq!(common(&[on(600, 1300), on(700, 1280)]), on(600, 1280));
}
