//! Policies of the kernel's own IPsec (xfrm), which would take packets before they get to us.
//!
//! ```text
//!   XFRM_MSG_GETPOLICY, dump ─► | xfrm_userpolicy_info: selector 56, lifetimes 96, priority, index, dir, action .. | ..
//! ```
//!
//! Looking needs CAP_NET_ADMIN.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_XFRM};

/// How many policies there are that concern packets of others, not single sockets.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, EPROTONOSUPPORT where the kernel has no xfrm.
pub(crate) fn count_policies() -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_XFRM)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = vec![0; HEADER + USERPOLICY_ID];
    let len = u32::try_from(request.len()).unwrap_or(0);
    let head = [len.to_ne_bytes(), word(GET_POLICY, REQUEST_DUMP)].concat();
    request.splice(..head.len(), head);
    socket.send(&request, 0)?;
    let mut count = 0;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        if scan(&datagram, &mut count)? {
            return Ok(count);
        }
    }
}

/// Counts what is in one datagram; true when it was the last.
fn scan(mut datagram: &[u8], count: &mut usize) -> io::Result<bool> {
    while let Some((&[a, b, c, d, kind, high, ..], _)) = datagram.split_first_chunk::<HEADER>() {
        let len = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some(body) = datagram.get(HEADER..len) else { return Ok(true) };
        match u16::from_ne_bytes([kind, high]) {
            DONE => return Ok(true),
            ERROR => {
                let code = body.first_chunk().map_or(0, |octets| i32::from_ne_bytes(*octets));
                return match code {
                    0 => Ok(true),
                    code => Err(io::Error::from_raw_os_error(-code)),
                };
            }
            // In, out and forward; what comes after belongs to sockets.
            NEW_POLICY => *count += usize::from(body.get(DIRECTION).is_some_and(|dir| *dir < 3)),
            _ => {}
        }
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn word(first: u16, second: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    [a, b, c, d]
}

// linux/netlink.h, linux/xfrm.h.
const HEADER: usize = 16;
const USERPOLICY_ID: usize = 64;
const GET_POLICY: u16 = 0x15;
const NEW_POLICY: u16 = 0x13;
const REQUEST_DUMP: u16 = 0x301;
const DONE: u16 = 3;
const ERROR: u16 = 2;

/// Of `dir` in xfrm_userpolicy_info: selector 56, xfrm_lifetime_cfg 64, xfrm_lifetime_cur 32, priority 4, index 4.
const DIRECTION: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(HEADER + body.len()).expect("short");
        [&len.to_ne_bytes()[..], &word(kind, 0), &[0; 8], body].concat()
    }

    #[test]
    fn policies_of_sockets_are_not_counted() {
        let policy = |direction| {
            let mut body = vec![0; 168];
            body[DIRECTION] = direction;
            message(NEW_POLICY, &body)
        };
        let mut count = 0;
        let some = [policy(0), policy(2), policy(3)].concat();
        assert!(!scan(&some, &mut count).expect("reads"));
        assert!(scan(&[policy(1), message(DONE, &[0; 4])].concat(), &mut count).expect("reads"));
        assert_eq!(count, 3);
        let error = message(ERROR, &(-libc::EPERM).to_ne_bytes());
        assert_eq!(
            scan(&error, &mut count).expect_err("refused").raw_os_error(),
            Some(libc::EPERM)
        );
    }
}
