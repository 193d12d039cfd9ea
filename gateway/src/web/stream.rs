//! What of a page has changed: each part of it has the number of the second in which it last did.
//!
//! ```text
//!   parts   head: 41   notes: 3   c-berlin: 42   c-paris: 17         viewer that has 41 ──► c-berlin alone
//!                                                                    viewer that has 0  ──► all of it
//! ```
//!
//! A viewer that reads slowly misses seconds, not changes; and all that have the same get the same octets, made once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

/// The parts of one page.
#[derive(Debug, Default)]
pub(super) struct Board {
    version: u64,
    parts: BTreeMap<String, Part>,
    /// The parts that come and go, as they follow each other.
    order: Vec<String>,
    ordered: u64,
    /// Frames of this version, by what the viewer has.
    frames: BTreeMap<u64, Arc<[u8]>>,
}

#[derive(Debug)]
struct Part {
    html: String,
    version: u64,
}

/// As the script of the page reads it.
#[derive(Debug, Serialize)]
struct Frame<'b> {
    /// HTML by the id of the element that it takes the place of.
    parts: BTreeMap<&'b str, &'b str>,
    /// The ids of the rows, if others are there now, or in another order.
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<&'b [String]>,
}

impl Board {
    /// Takes the page as it is now.
    pub(super) fn update(&mut self, order: Vec<String>, parts: Vec<(String, String)>) {
        self.version += 1;
        self.frames.clear();
        let version = self.version;
        if order != self.order {
            self.order = order;
            self.ordered = version;
        }
        let mut old = std::mem::take(&mut self.parts);
        for (id, html) in parts {
            let part = match old.remove(&id) {
                Some(same) if same.html == html => same,
                _ => Part { html, version },
            };
            self.parts.insert(id, part);
        }
    }

    /// What a viewer lacks that has everything up to `since`; `None`: nothing. With the version that it has then.
    pub(super) fn frame(&mut self, since: u64) -> (u64, Option<Arc<[u8]>>) {
        if since >= self.version {
            return (self.version, None);
        }
        if let Some(frame) = self.frames.get(&since) {
            return (self.version, Some(Arc::clone(frame)));
        }
        let changed = self.parts.iter().filter(|(_, part)| part.version > since);
        let parts: BTreeMap<&str, &str> =
            changed.map(|(id, part)| (id.as_str(), part.html.as_str())).collect();
        let order = (self.ordered > since).then_some(self.order.as_slice());
        if parts.is_empty() && order.is_none() {
            return (self.version, None);
        }
        let Ok(json) = serde_json::to_string(&Frame { parts, order }) else {
            return (self.version, None);
        };
        let frame: Arc<[u8]> = format!("event: parts\ndata: {json}\n\n").into_bytes().into();
        self.frames.insert(since, Arc::clone(&frame));
        (self.version, Some(frame))
    }
}

/// That there is nothing to tell.
pub(super) const STILL: &[u8] = b": still here\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(id, html)| ((*id).to_owned(), (*html).to_owned())).collect()
    }

    fn order(all: &[&str]) -> Vec<String> {
        all.iter().map(|id| (*id).to_owned()).collect()
    }

    fn told(board: &mut Board, since: u64) -> Option<serde_json::Value> {
        let frame = board.frame(since).1?;
        let text = std::str::from_utf8(&frame).expect("UTF-8");
        let data = text.strip_prefix("event: parts\ndata: ").expect(text);
        assert_eq!(data.find('\n'), Some(data.len() - 2), "one line: {text:?}");
        Some(serde_json::from_str(data).expect("JSON"))
    }

    #[test]
    fn a_viewer_is_told_what_it_lacks_and_nothing_else() {
        let mut board = Board::default();
        assert_eq!(board.frame(0), (0, None));
        board.update(order(&["a", "b"]), parts(&[("a", "1"), ("b", "x\ny")]));
        let all = serde_json::json!({ "parts": { "a": "1", "b": "x\ny" }, "order": ["a", "b"] });
        assert_eq!(told(&mut board, 0), Some(all));
        board.update(order(&["a", "b"]), parts(&[("a", "2"), ("b", "x\ny")]));
        assert_eq!(told(&mut board, 1), Some(serde_json::json!({ "parts": { "a": "2" } })));
        assert_eq!(told(&mut board, 2), None);
        board.update(order(&["b", "a"]), parts(&[("a", "2"), ("b", "x\ny")]));
        let moved = serde_json::json!({ "parts": {}, "order": ["b", "a"] });
        assert_eq!(told(&mut board, 2), Some(moved));
        // One that has slept since the first second.
        let late = serde_json::json!({ "parts": { "a": "2" }, "order": ["b", "a"] });
        assert_eq!(told(&mut board, 1), Some(late));
    }

    #[test]
    fn those_who_have_the_same_share_the_octets() {
        let mut board = Board::default();
        board.update(order(&["a"]), parts(&[("a", "1")]));
        let (first, second) = (board.frame(0).1.expect("one"), board.frame(0).1.expect("one"));
        assert!(Arc::ptr_eq(&first, &second));
    }
}
