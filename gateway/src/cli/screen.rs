//! The terminal at stdout: how large it is, and something that is drawn on it again and again.
//!
//! ```text
//!   a terminal          drawn in place; a daemon that is away for a moment is said and waited for
//!   TERM=dumb, a pipe   one block after the other, an empty line between
//! ```
//!
//! Nothing has to be put right when the program is interrupted: the cursor is not hidden and the screen is not another one.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::output::{DONE, is_dumb};
use super::{Code, Failure, Outcome};

/// Of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// That of stdout; `None` if it is no terminal.
pub(super) fn size() -> Option<Size> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let told = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let or = |value: Option<u16>, usual| value.filter(|v| *v > 0).map_or(usual, usize::from);
    // A serial line does not know its size.
    Some(Size {
        columns: or(told.map(|size| size.ws_col), USUAL.columns),
        rows: or(told.map(|size| size.ws_row), USUAL.rows),
    })
}

/// Shows what `shown` says, again after each pause, until the reader is gone or, without a terminal, until it fails. `lines`:
/// what it says is for programs, so that nothing is put between.
pub(super) fn watch(
    pause: Duration,
    lines: bool,
    mut shown: impl FnMut() -> Result<String, Failure>,
) -> Outcome {
    let draws = io::stdout().is_terminal() && !is_dumb() && !lines;
    let mut first = true;
    loop {
        let text = match shown() {
            Ok(text) => text,
            Err(Failure { code: Code::NotRunning, sentence: Some(sentence) })
                if draws && !first =>
            {
                format!("{sentence}\nwaiting for it ..\n")
            }
            Err(failure) => return Err(failure),
        };
        let block = match size().filter(|_| draws) {
            Some(size) => in_place(&text, size, first),
            None if lines || first => text,
            None => format!("\n{text}"),
        };
        let mut stdout = io::stdout().lock();
        match stdout.write_all(block.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return DONE,
            Err(error) => {
                let sentence = format!("cannot write to stdout: {error}");
                return Err(Failure::new(Code::Failed, sentence));
            }
        }
        drop(stdout);
        first = false;
        // Waking early does no harm here.
        std::thread::park_timeout(pause);
    }
}

/// The text over what was there before, in so many rows: each line erases the rest of its row, the last all below it.
fn in_place(text: &str, size: Size, first: bool) -> String {
    let mut block = String::from(if first { "\x1b[2J\x1b[H" } else { "\x1b[H" });
    let rows = size.rows.saturating_sub(1).max(1);
    let count = text.lines().count();
    let shown = if count > rows { rows - 1 } else { count };
    for line in text.lines().take(shown) {
        block += line;
        block += "\x1b[K\r\n";
    }
    if shown < count {
        let _ = write!(block, ".. {} more lines\x1b[K\r\n", count - shown);
    }
    block += "\x1b[J";
    block
}

/// Of a terminal that does not say.
const USUAL: Size = Size { columns: 80, rows: 24 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_again_leaves_nothing_of_before_and_does_not_scroll() {
        let size = Size { columns: 80, rows: 4 };
        let drawn = in_place("a\nb\n", size, false);
        assert_eq!(drawn, "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
        let drawn = in_place("a\nb\nc\nd\n", size, true);
        let expected = "\x1b[2J\x1b[Ha\x1b[K\r\nb\x1b[K\r\n.. 2 more lines\x1b[K\r\n\x1b[J";
        assert_eq!(drawn, expected);
        assert_eq!(drawn.matches('\n').count(), 3, "the cursor stays on the screen");
    }
}
