//! Reading and writing octets in network order, without a way to panic or to read past the end.
//!
//! ```text
//!   Reader:  what ──► [ taken | rest ........ ]      every read takes from the front of `rest`, or fails naming `what`
//!   Writer:  [ done | start .. length? .. | end ]    `length_since(start)` leaves two octets open,
//!                     ▲          ▲                   `close` fills them with end - start
//!                     └──────────┘ covered by the length: RFC 7296 §3.2 counts the header in
//! ```

use super::Error;

/// Takes octets from the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'m> {
    what: &'static str,
    rest: &'m [u8],
}

impl<'m> Reader<'m> {
    /// Reads `octets`; `what` names them in errors ("key exchange payload").
    #[must_use]
    pub const fn new(what: &'static str, octets: &'m [u8]) -> Self {
        Self { what, rest: octets }
    }

    /// The next `len` octets.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer are left; then nothing is taken.
    pub fn take(&mut self, len: usize) -> Result<&'m [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated(self.what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` octets as an array.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer are left; then nothing is taken.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated(self.what))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next octet.
    ///
    /// # Errors
    /// [`Error::Truncated`] at the end.
    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_be_bytes)
    }

    /// The next two octets.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer are left.
    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four octets.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer are left.
    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight octets.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer are left.
    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    /// A reader over the next `len` octets, which are taken from this one.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer are left; then nothing is taken.
    pub fn part(&mut self, what: &'static str, len: usize) -> Result<Self, Error> {
        self.take(len).map(|octets| Self::new(what, octets))
    }

    /// Everything that is left.
    #[must_use]
    pub fn rest(&mut self) -> &'m [u8] {
        std::mem::take(&mut self.rest)
    }

    /// How many octets are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Demands that nothing is left.
    ///
    /// # Errors
    /// [`Error::Length`] if something is.
    pub const fn finish(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::Length(self.what)) }
    }
}

/// Appends octets to a vector.
#[derive(Debug, Default)]
pub struct Writer {
    octets: Vec<u8>,
}

/// A two-octet length field that is still open; give it back to [`Writer::close`].
#[derive(Debug)]
#[must_use = "an open length stays zero until it is closed"]
pub struct OpenLength {
    start: usize,
    field: usize,
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub const fn new() -> Self {
        Self { octets: Vec::new() }
    }

    /// Appends one octet.
    pub fn u8(&mut self, value: u8) {
        self.octets.push(value);
    }

    /// Appends two octets.
    pub fn u16(&mut self, value: u16) {
        self.octets.extend_from_slice(&value.to_be_bytes());
    }

    /// Appends four octets.
    pub fn u32(&mut self, value: u32) {
        self.octets.extend_from_slice(&value.to_be_bytes());
    }

    /// Appends eight octets.
    pub fn u64(&mut self, value: u64) {
        self.octets.extend_from_slice(&value.to_be_bytes());
    }

    /// Appends octets as they are.
    pub fn put(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// Where the next octet will lie.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Appends a two-octet length that will count from `start` (a former [`Self::len`]) to where it is closed.
    pub fn length_since(&mut self, start: usize) -> OpenLength {
        let field = self.octets.len();
        self.u16(0);
        OpenLength { start, field }
    }

    /// Fills in a length.
    ///
    /// # Errors
    /// [`Error::Overflow`] if it does not fit two octets; the field stays zero.
    #[expect(clippy::needless_pass_by_value, reason = "a length is closed once")]
    pub fn close(&mut self, length: OpenLength) -> Result<(), Error> {
        let len = u16::try_from(self.octets.len().saturating_sub(length.start))
            .map_err(|_| Error::Overflow("length"))?;
        self.patch(length.field, &len.to_be_bytes());
        Ok(())
    }

    /// Overwrites octets that were written before. Out of range nothing happens.
    pub(super) fn patch(&mut self, at: usize, octets: &[u8]) {
        if let Some(place) = self.octets.get_mut(at..).and_then(|rest| rest.get_mut(..octets.len()))
        {
            place.copy_from_slice(octets);
        }
    }

    /// Forgets everything from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.octets.truncate(len);
    }

    /// What was written.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// What was written, owned.
    #[must_use]
    pub fn into_octets(self) -> Vec<u8> {
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_network_order_until_the_end() {
        let octets: Vec<u8> = (1..=18).collect();
        let mut reader = Reader::new("sample", &octets);
        assert_eq!(reader.u8(), Ok(0x01));
        assert_eq!(reader.u16(), Ok(0x0203));
        assert_eq!(reader.u32(), Ok(0x0405_0607));
        assert_eq!(reader.u64(), Ok(0x0809_0a0b_0c0d_0e0f));
        assert_eq!(reader.take(2), Ok([0x10, 0x11].as_slice()));
        assert_eq!(reader.finish(), Err(Error::Length("sample")));
        assert_eq!(reader.len(), 1);
        assert_eq!(reader.u16(), Err(Error::Truncated("sample")));
        assert_eq!(reader.rest(), [0x12], "a failed read takes nothing");
        assert!(reader.is_empty());
        assert_eq!(reader.finish(), Ok(()));
        assert_eq!(reader.u8(), Err(Error::Truncated("sample")));
        assert_eq!(reader.take(0), Ok([].as_slice()));
    }

    #[test]
    fn what_is_written_counts() {
        let mut writer = Writer::new();
        assert!(writer.is_empty());
        writer.put(&[0]);
        assert_eq!((writer.is_empty(), writer.len()), (false, 1));
    }

    #[test]
    fn parts_end_where_they_should() {
        let mut reader = Reader::new("whole", &[1, 2, 3]);
        let mut part = reader.part("part", 2).unwrap();
        assert_eq!(part.u16(), Ok(0x0102));
        assert_eq!(part.u8(), Err(Error::Truncated("part")));
        assert_eq!(reader.u8(), Ok(3));
        assert!(reader.part("part", 1).is_err());
    }

    #[test]
    fn lengths_count_from_their_start_and_refuse_to_overflow() {
        let mut writer = Writer::new();
        writer.u32(0xffff_ffff);
        let start = writer.len();
        writer.u8(7);
        let length = writer.length_since(start);
        writer.put(b"abc");
        writer.close(length).unwrap();
        assert_eq!(writer.octets(), [0xff, 0xff, 0xff, 0xff, 7, 0, 6, b'a', b'b', b'c']);

        let mut writer = Writer::new();
        let length = writer.length_since(0);
        writer.put(&vec![0; 65533]);
        assert_eq!(writer.close(length), Ok(()));
        assert_eq!(writer.octets().get(..2), Some([0xff, 0xff].as_slice()));
        let length = writer.length_since(0);
        assert_eq!(writer.close(length), Err(Error::Overflow("length")));
    }
}
