//! The longest packet that gets through a tunnel and back, where routers say nothing of those that do not.
//!
//! ```text
//!   84 octets     came back                        so the tunnel works
//!   1406, DF      lost, lost, lost                 and nobody says "fragmentation needed"
//!   745  1076  1241  1324 ..  0/1                  halved until the two are neighbours
//!   1238          the longest that came back       what `mtu` of the connection has to be
//! ```

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::io::echo::{Echo, Heard};

/// Where long packets are lost and short ones are not. All lengths are those of inner IP packets in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    /// The longest that came back.
    pub(super) passes: u32,
    /// The shortest that is sure to be lost; `passes` and this are neighbours.
    pub(super) vanishes: u32,
    /// The longest that hosts may send, and are told that they may.
    pub(super) allowed: u32,
}

/// Asks again and again, with other lengths; `begun`: the number of the first echo, `took`: how long a short one took.
///
/// `None` if the longest packet that the device takes comes back, or if somebody says why not.
pub(super) fn search(
    echo: &Echo,
    target: IpAddr,
    begun: u16,
    took: Duration,
    device: u32,
) -> io::Result<Option<Hole>> {
    let headers = if target.is_ipv4() { 20 + ICMP_LEN } else { 40 + ICMP_LEN };
    echo.set_df(true)?;
    let mut seq = begun;
    let mut ask = |length: u32, patience: Duration| {
        seq = seq.wrapping_add(1);
        let payload = usize::try_from(length.saturating_sub(headers)).unwrap_or(0);
        echo.ask(seq, payload, patience)
    };
    let Some(allowed) = allowed(device, &mut ask)? else { return Ok(None) };
    let patience = (took * 4).max(GLANCE);
    let mut hole = Hole { passes: headers + SHORT, vanishes: allowed, allowed };
    while hole.vanishes - hole.passes > 1 {
        let length = hole.passes.midpoint(hole.vanishes);
        let mut answered = false;
        for _ in 0..TRIES {
            answered = answered || matches!(ask(length, patience)?, Heard::Reply(_));
        }
        if answered {
            hole.passes = length;
        } else {
            hole.vanishes = length;
        }
    }
    Ok(Some(hole))
}

/// How long packets may be by what this host says, if those are lost without a word.
fn allowed(
    device: u32,
    ask: &mut impl FnMut(u32, Duration) -> io::Result<Heard>,
) -> io::Result<Option<u32>> {
    let mut length = device;
    let mut silent = 0;
    while silent < TRIES_OF_LONGEST {
        match ask(length, PATIENCE)? {
            Heard::Nothing => silent += 1,
            // The route is narrower than the device, or a router has said so in time.
            Heard::Error(error) if (SHORTEST..length).contains(&error.mtu) => {
                (length, silent) = (error.mtu, 0);
            }
            Heard::Reply(_) | Heard::Error(_) => return Ok(None),
        }
    }
    Ok(Some(length))
}

/// Octets of the header of an echo.
const ICMP_LEN: u32 = 8;

/// Octets of payload that are known to pass.
const SHORT: u32 = 16;

/// No link has a smaller MTU (RFC 791 §3.2).
const SHORTEST: u32 = 68;

/// One loss is no proof.
const TRIES_OF_LONGEST: u8 = 3;
const TRIES: u8 = 2;

/// For one of the longest, and at least for one of the others.
const PATIENCE: Duration = Duration::from_secs(1);
const GLANCE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::echo::IcmpError;

    fn too_big(mtu: u32) -> Heard {
        Heard::Error(IcmpError { from: None, is_v6: false, kind: 3, code: 4, mtu })
    }

    #[test]
    fn what_is_told_is_no_loss() {
        let answers = |length, _| Ok(if length > 1238 { too_big(1238) } else { REPLY });
        assert_eq!(allowed(1406, &mut { answers }).ok(), Some(None));
        let answers = |length, _| Ok(if length > 1300 { too_big(1300) } else { NOTHING });
        assert_eq!(allowed(1406, &mut { answers }).ok(), Some(Some(1300)), "then lost");
        assert_eq!(allowed(1406, &mut |_, _| Ok(too_big(0))).ok(), Some(None), "without an MTU");
    }

    #[test]
    fn one_loss_is_no_proof() {
        let mut asked = 0;
        let mut answers = |_, _| {
            asked += 1;
            Ok(if asked < 3 { NOTHING } else { REPLY })
        };
        assert_eq!(allowed(1406, &mut answers).ok(), Some(None));
        assert_eq!(allowed(1406, &mut |_, _| Ok(NOTHING)).ok(), Some(Some(1406)));
    }

    const REPLY: Heard = Heard::Reply(Duration::ZERO);
    const NOTHING: Heard = Heard::Nothing;
}
