//! What routers quote of our packets, and what we make of it.

use esp::ip::Version;
use esp::{lowered_path_mtu, min_mtu};
use gateway::io::icmp::read;

use crate::input::Input;

/// A message as a raw socket gives it, and the path MTU before it.
pub(crate) fn quote(data: &[u8]) {
    let mut input = Input(data);
    let version = if input.octet() & 1 == 0 { Version::V4 } else { Version::V6 };
    let (current, last) = (input.short(), u64::from(input.word()));
    let Some(said) = read(version, input.0) else { return };
    assert_eq!(said.remote.is_ipv4(), version == Version::V4);
    let _genuine = said.quote.is_recent(last, 65_536);
    if let Some(mtu) = lowered_path_mtu(current, said.mtu, version) {
        assert!(mtu < current && mtu >= min_mtu(version), "{mtu} of {current}");
    }
}
