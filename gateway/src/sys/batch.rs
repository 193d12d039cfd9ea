//! Many messages a call, each of many datagrams: sendmmsg(2) with UDP_SEGMENT, recvmmsg(2) with UDP_GRO (udp(7)).
//!
//! ```text
//!   Outgoing   payload | 1400 | 1400 | 1400 | 77 |  segment 1400 ─► four datagrams, one way through the kernel
//!
//!   Inbox      | message 0                 slack | message 1          slack | ...     one slab, a slot a message
//!                | 1400 | 1400 | 77 | stride 1400  | 300 | stride 300
//! ```
//!
//! Nothing is allocated by a call: what the kernel wants to be told lies on the stack, and an [`Inbox`] is made once.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::sys::label::{self, LabelRoom, Labels};
use crate::sys::message::{Envelope, NAME_LEN, Name, is_stale, message_header};

/// A message to be sent: one datagram, or several of one length but for the last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// The octets of all datagrams, one after the other.
    pub(crate) payload: &'a [u8],
    /// Octets of each datagram; the last may be shorter. One datagram if this is zero or at least the payload's length.
    pub(crate) segment: u16,
    /// Where it goes and which of our addresses it leaves from.
    pub(crate) envelope: &'a Envelope,
    /// DSCP and ECN of the outer header.
    pub(crate) traffic_class: u8,
}

impl<'a> Outgoing<'a> {
    /// The same, a message for each datagram: for a way out that cannot cut them.
    pub(crate) fn apart(self) -> impl Iterator<Item = Self> + use<'a> {
        let len = if self.is_cut() { usize::from(self.segment) } else { self.payload.len().max(1) };
        // An empty payload is a datagram, too.
        let empty = self.payload.is_empty().then_some(self.payload);
        let payloads = empty.into_iter().chain(self.payload.chunks(len));
        payloads.map(move |payload| Self { payload, segment: 0, ..self })
    }

    fn is_cut(&self) -> bool {
        self.segment > 0 && usize::from(self.segment) < self.payload.len()
    }
}

/// Sends messages in order until one is refused. Says how many were taken and why the next one was not; one that is taken is
/// taken whole. With a stale error it is tried once more.
pub(crate) fn send<'a>(
    socket: BorrowedFd<'_>,
    messages: impl IntoIterator<Item = Outgoing<'a>>,
) -> (usize, io::Result<()>) {
    let mut messages = messages.into_iter();
    let mut taken = 0;
    loop {
        let (given, sent, result) = send_some(socket, &mut messages);
        taken += sent;
        if result.is_err() || given < AT_ONCE {
            return (taken, result);
        }
    }
}

/// Sends up to [`AT_ONCE`] messages; says how many there were and how many were taken.
fn send_some<'a>(
    socket: BorrowedFd<'_>,
    messages: &mut impl Iterator<Item = Outgoing<'a>>,
) -> (usize, usize, io::Result<()>) {
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; AT_ONCE];
    let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; AT_ONCE];
    let mut labels = [const { MaybeUninit::<Labels>::uninit() }; AT_ONCE];
    let mut given = 0;
    let places = headers.iter_mut().zip(&mut parts).zip(&mut labels);
    // The messages last: zip asks them only where there is a place.
    for (((header, part), labels), message) in places.zip(messages) {
        let part = part.write(libc::iovec {
            iov_base: message.payload.as_ptr().cast_mut().cast(),
            iov_len: message.payload.len(),
        });
        let mut filled = message.envelope.header();
        filled.msg_iov = ptr::from_mut(part);
        filled.msg_iovlen = 1;
        if message.is_cut() || message.traffic_class > 0 {
            let labels = labels.write(message.envelope.labels().clone());
            if message.traffic_class > 0 {
                labels.traffic_class(message.traffic_class, message.envelope.is_v6());
            }
            if message.is_cut() {
                labels.segment(message.segment);
            }
            filled.msg_control = labels.as_ptr();
            filled.msg_controllen = labels.len();
        }
        header.write(libc::mmsghdr { msg_hdr: filled, msg_len: 0 });
        given += 1;
    }
    let mut sent = 0;
    let mut once_more = true;
    while let Some(rest) = headers.get_mut(sent..given).filter(|rest| !rest.is_empty()) {
        // SAFETY: these headers were written above. Every pointer in them is to the payload or the envelope, which live for
        // 'a, or into `parts` and `labels`, which are in their places until this function ends, each with its true length;
        // sendmmsg only reads through them, and writes msg_len.
        let done = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                rest.as_mut_ptr().cast(),
                count_of(rest.len()),
                libc::MSG_NOSIGNAL,
            )
        };
        match usize::try_from(done) {
            Ok(done) if done > 0 => {
                sent += done;
                once_more = true;
            }
            Ok(_) => return (given, sent, Err(io::ErrorKind::WriteZero.into())),
            Err(_) => {
                let error = io::Error::last_os_error();
                if !(once_more && is_stale(&error)) {
                    return (given, sent, Err(error));
                }
                once_more = false;
            }
        }
    }
    (given, sent, Ok(()))
}

/// A received message, beside its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Where its octets are in the inbox's buffer.
    pub(crate) range: Range<usize>,
    /// Octets of each datagram in it, at least one; the last may be shorter.
    pub(crate) stride: usize,
    /// The sender.
    pub(crate) remote: SocketAddr,
    /// Which of our addresses it was sent to, if the socket was asked to say so.
    pub(crate) local: Option<IpAddr>,
    /// DSCP and ECN of the outer header.
    pub(crate) traffic_class: u8,
    /// Something of it did not fit and is lost.
    pub(crate) truncated: bool,
}

impl Message {
    /// Where each datagram is in the inbox's buffer.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Range { start, end } = self.range;
        let stride = self.stride.max(1);
        // An empty datagram is one, too.
        let starts = (start..end.max(start + 1)).step_by(stride);
        starts.map(move |from| from..(from + stride).min(end))
    }
}

/// What one call received, and the room for it.
pub(crate) struct Inbox {
    /// Octets from one message to the next.
    slot: usize,
    /// Octets of a message.
    room: usize,
    slab: Box<[u8]>,
    names: Box<[Name]>,
    labels: Box<[LabelRoom]>,
    messages: Vec<Message>,
    overflowed: Option<u32>,
}

impl Inbox {
    /// Room for so many messages a call, one to [`Inbox::MOST`], of any length. Memory that is never written to is never taken.
    pub(crate) fn new(messages: usize) -> Self {
        Self::with_room(messages, MESSAGE_MAX)
    }

    /// As before, for messages of up to so many octets.
    pub(crate) fn with_room(messages: usize, octets: usize) -> Self {
        let messages = messages.clamp(1, Self::MOST);
        let slot = octets.next_multiple_of(LINE) + SLACK;
        Self {
            slot,
            room: octets,
            slab: vec![0; messages * slot].into_boxed_slice(),
            names: vec![Name::NONE; messages].into_boxed_slice(),
            labels: vec![LabelRoom::EMPTY; messages].into_boxed_slice(),
            messages: Vec::with_capacity(messages),
            overflowed: None,
        }
    }

    /// The most messages of an inbox.
    pub(crate) const MOST: usize = 64;

    /// How many messages a call fills at most.
    pub(crate) fn capacity(&self) -> usize {
        self.names.len()
    }

    /// Message `position` of the last call.
    pub(crate) fn message(&self, position: usize) -> Option<Message> {
        self.messages.get(position).cloned()
    }

    /// The octets of all messages; they may be changed.
    pub(crate) fn buffer_mut(&mut self) -> &mut [u8] {
        &mut self.slab
    }

    /// The octets of all messages, and the messages of the last call; both may be changed.
    pub(crate) fn parts_mut(&mut self) -> (&mut [u8], &mut [Message]) {
        (&mut self.slab, &mut self.messages)
    }

    /// How many datagrams the socket had dropped for want of room in its queue, since it was made, as the last call learned;
    /// `None` if it did not learn it. It wraps around.
    pub(crate) fn overflowed(&self) -> Option<u32> {
        self.overflowed
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("messages", &self.messages).finish_non_exhaustive()
    }
}

/// Receives what waits, as much as `inbox` has room for, and says how many messages that is. What was in `inbox` before is gone.
///
/// # Errors
/// `WouldBlock` if there is none; otherwise what the system says.
pub(crate) fn receive(socket: BorrowedFd<'_>, inbox: &mut Inbox) -> io::Result<usize> {
    inbox.messages.clear();
    inbox.overflowed = None;
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; Inbox::MOST];
    let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; Inbox::MOST];
    let Inbox { slot, room: iov_len, .. } = *inbox;
    let rooms = inbox.slab.chunks_exact_mut(slot).zip(&mut inbox.names).zip(&mut inbox.labels);
    let mut places = 0;
    for (((room, name), labels), (header, part)) in rooms.zip(headers.iter_mut().zip(&mut parts)) {
        let part = part.write(libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len });
        let mut empty = message_header();
        empty.msg_name = name.as_mut_ptr();
        empty.msg_namelen = NAME_LEN;
        empty.msg_iov = ptr::from_mut(part);
        empty.msg_iovlen = 1;
        empty.msg_control = labels.as_mut_ptr();
        empty.msg_controllen = LabelRoom::LEN;
        header.write(libc::mmsghdr { msg_hdr: empty, msg_len: 0 });
        places += 1;
    }
    // SAFETY: the first `places` headers were written above; every pointer in them is to a part of `inbox`, borrowed mutably
    // for the whole call, or into `parts`, with its true length, and no two share anything. No timeout.
    let done = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            count_of(places),
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    let done = usize::try_from(done).map_err(|_| io::Error::last_os_error())?;
    for (position, (header, name)) in headers.iter().zip(&inbox.names).take(done).enumerate() {
        // SAFETY: it was written above: the kernel filled no more headers than there are.
        let header = unsafe { header.assume_init_ref() };
        // SAFETY: recvmmsg filled it, and its buffer is in `inbox`.
        let found = unsafe { label::read(&header.msg_hdr) };
        inbox.overflowed = found.overflowed.or(inbox.overflowed);
        let Some(remote) = name.address(header.msg_hdr.msg_namelen) else { continue };
        let len = (header.msg_len as usize).min(iov_len);
        let start = position * slot;
        // Without all control messages nobody knows how many datagrams these are.
        let lost = libc::MSG_TRUNC | libc::MSG_CTRUNC;
        inbox.messages.push(Message {
            range: start..start + len,
            stride: found.stride.unwrap_or(len).max(1),
            remote,
            local: found.local,
            traffic_class: found.traffic_class,
            truncated: header.msg_hdr.msg_flags & lost != 0,
        });
    }
    Ok(inbox.messages.len())
}

fn count_of(messages: usize) -> libc::c_uint {
    libc::c_uint::try_from(messages).expect("invariant: a call has 64 messages at most")
}

/// Messages of one sendmmsg; chosen so that what it costs to enter the kernel is small beside what one message costs.
const AT_ONCE: usize = 32;

/// The longest message, in octets.
const MESSAGE_MAX: usize = 65_536;

/// Octets after the room of each message. Were it a power of two from one message to the next, the beginnings of all of them
/// would compete for the same few lines of the processor's caches, and a short message has nothing but a beginning.
const SLACK: usize = 25 * LINE;

/// Octets of a line of the processor's caches.
const LINE: usize = 64;

#[cfg(test)]
mod tests;
