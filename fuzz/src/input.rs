//! Octets of a fuzzer, taken from the front. Where there are none left, there are zeros.

pub(crate) struct Input<'d>(pub(crate) &'d [u8]);

impl<'d> Input<'d> {
    pub(crate) fn octet(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    pub(crate) fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.octet(), self.octet()])
    }

    pub(crate) fn word(&mut self) -> u32 {
        u32::from(self.short()) << 16 | u32::from(self.short())
    }

    /// As many as the next two octets say, or all that are left.
    pub(crate) fn many(&mut self) -> &'d [u8] {
        let len = usize::from(self.short());
        self.up_to(len)
    }

    fn up_to(&mut self, len: usize) -> &'d [u8] {
        let len = len.min(self.0.len());
        self.0.split_off(..len).unwrap_or_default()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
