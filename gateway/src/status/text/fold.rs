//! Lines that are too long for a terminal, folded at blanks; what follows is indented, so that the eye finds the next entry.

/// Every line in at most `columns`; words that are longer stay whole.
pub(super) fn lines(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else { return text.to_owned() };
    let mut folded = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len() + HANGING;
        folded.push_str(&hanging(line, columns, indent));
        folded.push('\n');
    }
    folded
}

/// One line in several, without the last line end; all but the first are indented so far.
pub(crate) fn hanging(line: &str, columns: usize, indent: usize) -> String {
    let mut folded = String::new();
    let mut column = 0;
    let mut gap = 0;
    for (index, word) in line.split(' ').enumerate() {
        gap += usize::from(index > 0);
        if word.is_empty() {
            continue;
        }
        let length = visible(word);
        if column > 0 && column + gap + length > columns && column > indent {
            folded.push('\n');
            gap = indent;
            column = 0;
        }
        folded.extend(std::iter::repeat_n(' ', gap));
        folded.push_str(word);
        column += gap + length;
        gap = 0;
    }
    folded
}

/// Columns that a word takes: colours take none.
fn visible(word: &str) -> usize {
    let mut inside = false;
    let counts = |c: char| {
        let was_inside = inside;
        inside = c == '\x1b' || (inside && c != 'm');
        !(was_inside || inside)
    };
    word.chars().map(counts).filter(|counts| *counts).count()
}

/// Deeper than the line that goes on.
const HANGING: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_below_and_short_ones_stay_as_they_are() {
        let text = "  ids:    a <-> b\n  ike:    one two three four five\n";
        let expected = "  ids:    a <-> b\n  ike:    one two\n      three four\n      five\n";
        assert_eq!(lines(text, Some(17)), expected);
        assert_eq!(lines(text, None), text);
        assert_eq!(lines("unbreakable\n", Some(5)), "unbreakable\n");
    }

    #[test]
    fn colours_take_no_room() {
        let text = "state: \x1b[32mup\x1b[0m for 1h\n";
        assert_eq!(lines(text, Some(16)), text);
    }
}
