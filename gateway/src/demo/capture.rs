//! What crosses a wire, in a file that Wireshark and tcpdump read.
//!
//! ```text
//!   magic a1b2c3d4, 2.4, LINKTYPE_ETHERNET     then for each frame: seconds, microseconds, length, length, octets
//! ```
//!
//! Written as it is seen, so that it is whole whenever the demo ends; no more than [`MOST`] octets.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;

use super::wire::Eye;
use super::{DemoError, During as _};
use crate::clock;

/// Writes what `eye` sees until the process ends.
pub(super) fn record(eye: Eye, file: &Path) -> Result<(), DemoError> {
    let what = format!("write {}", file.display());
    let mut file = BufWriter::new(File::create(file).during(&*what)?);
    begin(&mut file).and_then(|()| file.flush()).during(&*what)?;
    let recorder = move || {
        let mut written = 0;
        // If the file cannot be written to its end, what is in it is good.
        while written < MOST && look(&eye, &mut file, &mut written).is_ok() {}
    };
    thread::Builder::new().name("capture".into()).spawn(recorder).during(what).map(drop)
}

fn look(eye: &Eye, file: &mut impl Write, written: &mut usize) -> io::Result<()> {
    if eye.wait(GLANCE)? {
        let mut outcome = Ok(());
        eye.drain(|frame| {
            if outcome.is_ok() && *written < MOST {
                *written += frame.len();
                outcome = add(file, clock::wall(), frame);
            }
        })?;
        outcome?;
        file.flush()?;
    }
    Ok(())
}

fn begin(file: &mut impl Write) -> io::Result<()> {
    file.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
    file.write_all(&2_u16.to_le_bytes())?;
    file.write_all(&4_u16.to_le_bytes())?;
    [0, 0, SNAP_LEN, LINKTYPE_ETHERNET]
        .iter()
        .try_for_each(|word| file.write_all(&word.to_le_bytes()))
}

fn add(file: &mut impl Write, at: Timestamp, frame: &[u8]) -> io::Result<()> {
    let seconds = u32::try_from(at.as_second()).unwrap_or(0);
    let micros = u32::try_from(at.subsec_microsecond()).unwrap_or(0);
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let kept = frame.get(..usize::try_from(SNAP_LEN).unwrap_or(0)).unwrap_or(frame);
    let kept_length = length.min(SNAP_LEN);
    for word in [seconds, micros, kept_length, length] {
        file.write_all(&word.to_le_bytes())?;
    }
    file.write_all(kept)
}

/// Octets of frames in one file: the handshake and the pings have a thousandth of it, the measurement of speed the rest.
const MOST: usize = 4 << 20;

/// Octets of one frame that are kept.
const SNAP_LEN: u32 = 65_535;

/// Each frame begins with its Ethernet header.
const LINKTYPE_ETHERNET: u32 = 1;

/// Between two looks at whether there is anything.
const GLANCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_has_a_header_and_whole_frames() {
        let mut file = Vec::new();
        begin(&mut file).unwrap();
        let at = Timestamp::from_microsecond(7_000_009).unwrap();
        add(&mut file, at, b"frame").unwrap();
        let words: Vec<u32> =
            file[..40].as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        assert_eq!(words, [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1, 7, 9, 5, 5]);
        assert_eq!(&file[40..], b"frame");
        add(&mut file, at, &vec![7; 70_000]).unwrap();
        assert_eq!(file.len(), 45 + 16 + 65_535, "a super-packet is cut");
    }
}
