//! What is logged: a level for everything, for an area, for a connection.
//!
//! ```text
//!   "info,ike=debug"          info; of the area `ike` debug too
//!   log = "debug" of berlin   whatever the area: of connection `berlin` debug, of others as above
//!   change("child=trace")     info,ike=debug,child=trace     restore() ──► info,ike=debug
//! ```

use std::collections::BTreeMap;
use std::fmt;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};

/// The filter of the logs is not one.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot understand the log filter `{filter}`: {why}; write a level or a list like info,ike=debug"
)]
pub struct BadFilter {
    filter: String,
    why: String,
}

/// The targets of all events.
pub(super) const AREAS: [&str; 6] = ["gateway", "ike", "child", "dataplane", "status", "web"];

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Whether a filter can be understood: levels, and areas with a level, behind commas.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(filter: &str) -> Result<(), String> {
    Areas::read(filter).map(drop)
}

/// A level for each area.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Areas {
    /// Of what is not in `areas`; `None`: nothing was said of it.
    others: Option<LevelFilter>,
    areas: BTreeMap<&'static str, LevelFilter>,
}

impl Areas {
    fn read(filter: &str) -> Result<Self, String> {
        let mut read = Self { others: None, areas: BTreeMap::new() };
        for part in filter.split(',') {
            let (area, level) = match part.split_once('=') {
                Some((area, level)) => (Some(area), level),
                None => (None, part),
            };
            let area = match area {
                None => None,
                Some(area) => {
                    Some(AREAS.into_iter().find(|known| *known == area).ok_or_else(|| {
                        format!("no area `{area}`; there is {}", AREAS.join(", "))
                    })?)
                }
            };
            let level = LEVELS.iter().find(|(word, _)| *word == level).ok_or_else(|| {
                let words: Vec<&str> = LEVELS.iter().map(|(word, _)| *word).collect();
                format!("no level `{level}`; there is {}", words.join(", "))
            })?;
            match area {
                None => read.others = Some(level.1),
                Some(area) => {
                    read.areas.insert(area, level.1);
                }
            }
        }
        Ok(read)
    }

    /// These where they say something, else those of `base`.
    fn over(self, base: &Self) -> Self {
        if self.others.is_some() {
            return self;
        }
        let mut areas = base.areas.clone();
        areas.extend(self.areas);
        Self { others: base.others, areas }
    }

    fn of(&self, area: &str) -> LevelFilter {
        self.areas.get(area).copied().or(self.others).unwrap_or(LevelFilter::INFO)
    }
}

impl fmt::Display for Areas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.others.unwrap_or(LevelFilter::INFO))?;
        self.areas.iter().try_for_each(|(area, level)| write!(f, ",{area}={level}"))
    }
}

/// All of it: what is in force, and what to return to.
#[derive(Debug)]
pub(super) struct Filter {
    base: Areas,
    now: Areas,
    connections: BTreeMap<String, Level>,
}

impl Filter {
    /// # Errors
    /// If `filter` cannot be understood.
    pub(super) fn new(
        filter: &str,
        connections: impl IntoIterator<Item = (String, Level)>,
    ) -> Result<Self, BadFilter> {
        let base = read(filter)?;
        let connections = connections.into_iter().collect();
        Ok(Self { now: base.clone(), base, connections })
    }

    pub(super) fn change(&mut self, filter: &str) -> Result<(), BadFilter> {
        self.now = read(filter)?.over(&self.base);
        Ok(())
    }

    /// Another filter to return to, and in force at once unless something else is for a time.
    pub(super) fn rebase(&mut self, filter: &str, for_later: bool) -> Result<(), BadFilter> {
        self.base = read(filter)?;
        if !for_later {
            self.restore();
        }
        Ok(())
    }

    pub(super) fn keep(&mut self) {
        self.base.clone_from(&self.now);
    }

    pub(super) fn restore(&mut self) {
        self.now.clone_from(&self.base);
    }

    pub(super) fn set_connections(&mut self, levels: impl IntoIterator<Item = (String, Level)>) {
        self.connections = levels.into_iter().collect();
    }

    /// Whether an event from this place may be wanted, whatever connection it is about.
    pub(super) fn may_want(&self, metadata: &Metadata<'_>) -> bool {
        let level = metadata.level();
        *level <= self.now.of(metadata.target())
            || self.connections.values().any(|louder| level <= louder)
    }

    /// Whether this one is. What a connection says of itself goes before what is said of areas.
    pub(super) fn wants(&self, metadata: &Metadata<'_>, connection: Option<&str>) -> bool {
        match connection.and_then(|name| self.connections.get(name)) {
            Some(own) => metadata.level() <= own,
            None => *metadata.level() <= self.now.of(metadata.target()),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now.fmt(f)
    }
}

fn read(filter: &str) -> Result<Areas, BadFilter> {
    Areas::read(filter).map_err(|why| BadFilter { filter: filter.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_made_of_levels_and_areas() {
        for good in ["info", "off", "info,ike=debug", "warn,child=trace,status=off", "ike=debug"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("lout", "no level `lout`"),
            ("", "no level ``"),
            ("info,kie=debug", "no area `kie`; there is gateway, ike"),
            ("ike=loud", "no level `loud`"),
            ("ike", "no level `ike`"),
        ] {
            let said = check(bad).expect_err(bad);
            assert!(said.starts_with(why), "{said}");
        }
    }

    #[test]
    fn an_area_is_changed_and_the_others_stay() {
        let mut filter = Filter::new("warn,ike=info", []).expect("a filter");
        filter.change("child=trace").expect("a filter");
        assert_eq!(filter.to_string(), "warn,child=trace,ike=info");
        filter.change("ike=debug").expect("a filter");
        assert_eq!(filter.to_string(), "warn,ike=debug", "to what was there at first");
        filter.change("error").expect("a filter");
        assert_eq!(filter.to_string(), "error", "a level for all leaves nothing over");
        assert!(filter.change("ike=loud").is_err());
        assert_eq!(filter.to_string(), "error");
        filter.restore();
        assert_eq!(filter.to_string(), "warn,ike=info");
        filter.change("debug").expect("a filter");
        filter.keep();
        filter.restore();
        assert_eq!(filter.to_string(), "debug");
        filter.rebase("warn", true).expect("a filter");
        assert_eq!(filter.to_string(), "debug", "while that lasts");
        filter.restore();
        assert_eq!(filter.to_string(), "warn");
        filter.rebase("error", false).expect("a filter");
        assert_eq!(filter.to_string(), "error");
        assert!(filter.rebase("loud", false).is_err());
    }
}
