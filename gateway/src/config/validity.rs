//! How long certificates last, and when that is to be said: in `check`, in `status` and in the log with the same codes.
//!
//! ```text
//!   W0323       W0320          W0321        W0322           W0324, a revocation list after its next update
//!   ──────┼──────────────┼────────────┼───────────┼──────►
//!     not before     30 days       7 days     not after
//! ```
//!
//! None of this is an error of the configuration: one certificate that ended must not keep other tunnels down, and the clock
//! of a machine that has just been switched on may be wrong. Whether it is good enough is asked anew at each authentication.

use super::auth::{Dated, Part};
use super::codes::Code;
use super::load::Surroundings;
use super::report::Diagnostic;
use super::section::Findings;
use super::source::Place;
use crate::status::certificate::time_left;

/// What there is to say about something with an end, at this moment (seconds since 1970); the gravest only.
#[must_use]
pub(crate) fn code(dated: &Dated, now: u64) -> Option<Code> {
    let left = dated.to.checked_sub(now);
    match (dated.part, left) {
        (_, _) if now < dated.from => Some(Code::NotYetValid),
        (Part::List, None) => Some(Code::ListOld),
        // A list is made anew often, and shortly before it is due.
        (Part::List, Some(_)) => None,
        (_, None) => Some(Code::Expired),
        (_, Some(left)) if left < WEEK => Some(Code::ExpiresThisWeek),
        (_, Some(left)) if left < MONTH => Some(Code::ExpiresSoon),
        (_, Some(_)) => None,
    }
}

/// Seconds.
const DAY: u64 = 24 * 60 * 60;
const WEEK: u64 = 7 * DAY;
const MONTH: u64 = 30 * DAY;

/// What is wrong, one sentence without full stop.
#[must_use]
pub(crate) fn sentence(dated: &Dated, code: Code, now: u64) -> String {
    let whose = format!("{} of {}", dated.part.words(), dated.name);
    let end = moment(dated.to);
    if code == Code::NotYetValid {
        format!("{whose} is not valid before {}", moment(dated.from))
    } else if code == Code::Expired {
        format!("{whose} expired {end}")
    } else if code == Code::ListOld {
        format!("{whose} should have been replaced by {end}")
    } else {
        format!("{whose} expires {end}, in {}", time_left(dated.to.saturating_sub(now)))
    }
}

/// What to do about it, one sentence without full stop.
#[must_use]
pub(crate) fn fix(dated: &Dated, code: Code) -> String {
    let file = dated.file.display();
    match (code, dated.part) {
        (Code::NotYetValid, _) => "see that the clock is right: date -u".to_owned(),
        (_, Part::List) => {
            format!("put a new list of the same authority into {file}, then s2s-gw reload")
        }
        (_, Part::Authority) => {
            format!(
                "put the new certificate of the authority into {file} beside the old one, then s2s-gw reload"
            )
        }
        (_, Part::Ours) => format!("put a new certificate into {file}, then s2s-gw reload"),
        (_, Part::Peers) => {
            "tell whoever looks after the peer: it needs a new certificate".to_owned()
        }
        (_, Part::Pinned) => {
            format!("put the peer's new certificate into {file}, then s2s-gw reload")
        }
    }
}

/// As people write it, in UTC: `2026-11-27 08:15 UTC`.
#[must_use]
pub(crate) fn moment(unix: u64) -> String {
    let time =
        i64::try_from(unix).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "never".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// Whether a code is about a moment, so that it may be true no more in the next.
#[must_use]
pub(crate) const fn is_of_a_moment(code: Code) -> bool {
    matches!(
        code,
        Code::ExpiresSoon
            | Code::ExpiresThisWeek
            | Code::Expired
            | Code::NotYetValid
            | Code::ListOld
    )
}

/// Says what there is to say now.
pub(super) fn warn(
    dated: &[Dated],
    place: &Place,
    surroundings: &Surroundings,
    findings: &mut Findings,
) {
    let Some(now) = surroundings.now else { return };
    for one in dated {
        let Some(code) = code(one, now) else { continue };
        findings.add(
            Diagnostic::at(code, place, sentence(one, code, now))
                .label(code.title())
                .fix(fix(one, code)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_has_its_code() {
        let dated = |part| Dated {
            part,
            file: "fra1.pem".into(),
            name: "CN=fra1".into(),
            from: 1000 * DAY,
            to: 1100 * DAY,
        };
        for (now, expected) in [
            (1000 * DAY - 1, Some(Code::NotYetValid)),
            (1000 * DAY, None),
            (1070 * DAY, None),
            (1070 * DAY + 1, Some(Code::ExpiresSoon)),
            (1093 * DAY, Some(Code::ExpiresSoon)),
            (1093 * DAY + 1, Some(Code::ExpiresThisWeek)),
            (1100 * DAY, Some(Code::ExpiresThisWeek)),
            (1100 * DAY + 1, Some(Code::Expired)),
        ] {
            assert_eq!(code(&dated(Part::Ours), now), expected, "{now}");
            assert_eq!(code(&dated(Part::Pinned), now), expected, "{now}");
        }
        assert_eq!(code(&dated(Part::List), 1100 * DAY), None);
        assert_eq!(code(&dated(Part::List), 1100 * DAY + 1), Some(Code::ListOld));
    }

    #[test]
    fn sentences_name_whose_it_is_when_and_what_to_do() {
        let dated = Dated {
            part: Part::Ours,
            file: "/etc/s2s-gw/fra1.pem".into(),
            name: "CN=fra1".into(),
            from: 0,
            to: 20_000 * DAY,
        };
        let at = |now: u64| {
            let code = code(&dated, now).expect("something to say");
            format!("{code} {}; {}", sentence(&dated, code, now), fix(&dated, code))
        };
        assert_eq!(
            at(19_988 * DAY),
            "W0320 our certificate of CN=fra1 expires 2024-10-04 00:00 UTC, in 12 days; put a new certificate into /etc/s2s-gw/fra1.pem, then s2s-gw reload"
        );
        assert!(at(20_000 * DAY - 3600).contains("in 60 minutes"), "{}", at(20_000 * DAY - 3600));
        assert!(
            at(20_001 * DAY).starts_with("W0322 our certificate of CN=fra1 expired 2024-10-04")
        );
        assert_eq!(moment(u64::MAX), "never");
    }
}
