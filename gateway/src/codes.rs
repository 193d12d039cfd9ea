//! Every stable code in one place: what `s2s-gw error CODE` prints.
//!
//! ```text
//!   config/codes.rs   E01xx E03xx W03xx   the configuration     \
//!   status/codes.rs   E10xx W05xx         the running gateway   /  explain("E1003") ──► title, explanation
//! ```
//!
//! A code keeps its meaning for ever: texts may become better, numbers are not used again.

use std::fmt::Write as _;

use crate::{config, status};

/// What there is to say about one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The code as printed, for example `E0101`.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What it means and what to do, in one paragraph.
    pub text: &'static str,
}

/// Every code, those of the configuration first, by number.
pub fn all() -> impl Iterator<Item = Explanation> {
    let of_config = config::Code::ALL.iter().map(|code| code.explained());
    of_config.chain(status::Code::ALL.iter().map(|code| code.explained()))
}

/// The code of this name, such as `E0101`; case does not matter.
#[must_use]
pub fn explain(id: &str) -> Option<Explanation> {
    all().find(|one| one.id.eq_ignore_ascii_case(id))
}

/// All of them as a page of Markdown: docs/errors.md.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Every code\n\n`E` is an error, `W` a warning. The same is said by `s2s-gw error CODE`, which made this page: `s2s-gw error --markdown`.\n",
    );
    for one in all() {
        let _ = write!(text, "\n## {}: {}\n\n{}\n", one.id, one.title, one.text);
    }
    text
}

/// The codes that differ from this text in one character, at most three: what was meant, perhaps.
#[must_use]
pub fn near(id: &str) -> Vec<&'static str> {
    let id = id.to_ascii_uppercase();
    let near = all().filter(|one| strsim::osa_distance(&id, one.id) <= 1);
    near.map(|one| one.id).take(3).collect()
}

/// Declares a table of codes: variant, code, title, explanation.
macro_rules! codes {
    ($doc:literal $name:ident: $($variant:ident $id:literal $title:literal $text:literal;)*) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $(#[doc = concat!($id, ": ", $title, ".")] $variant,)*
        }

        impl $name {
            /// Every code, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as printed, for example `E0101`.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }

            /// What it is, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What it means and what to do, in one paragraph.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// All three.
            #[must_use]
            pub const fn explained(self) -> $crate::codes::Explanation {
                $crate::codes::Explanation {
                    id: self.id(), title: self.title(), text: self.explanation(),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.id())
            }
        }
    };
}

pub(crate) use codes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_well_formed_unique_and_explained() {
        let mut ids = std::collections::BTreeSet::new();
        for Explanation { id, title, text } in all() {
            assert!(id.len() == 5 && matches!(id.as_bytes()[0], b'E' | b'W'), "{id}");
            assert!(id[1..].bytes().all(|octet| octet.is_ascii_digit()), "{id}");
            assert!(ids.insert(id), "{id} twice");
            assert!(!title.is_empty() && !title.ends_with('.'), "{id}");
            assert!(text.len() > 60 && text.ends_with('.'), "{id}");
        }
    }

    #[test]
    fn the_page_in_the_documentation_is_what_the_program_says() {
        let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md"));
        assert!(page == markdown(), "make it anew: s2s-gw error --markdown > docs/errors.md");
    }

    #[test]
    fn codes_of_both_tables_are_found() {
        assert_eq!(explain("e0312").map(|one| one.id), Some("E0312"));
        assert_eq!(explain("E1003").map(|one| one.id), Some("E1003"));
        assert_eq!(explain("w0501").map(|one| one.id), Some("W0501"));
        assert_eq!(explain("E9999"), None);
        assert_eq!(near("1003"), ["E1003"]);
        assert_eq!(near("e10055"), ["E1005"]);
        assert_eq!(near("E9999"), [""; 0]);
    }
}
